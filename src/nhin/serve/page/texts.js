/** The texts of the page in Vietnamese and English. "one|many" chooses by {count}. */

const VI = {
  title: "Nhìn – đọc chữ tiếng Việt trong ảnh",
  subtitle: "Đọc chữ tiếng Việt trong ảnh và PDF",
  skip: "Chuyển đến nội dung đọc được",
  language: "Ngôn ngữ",
  inputTitle: "Chọn ảnh hoặc PDF",
  choose: "Chọn tệp",
  photograph: "Chụp ảnh",
  dropHint: "Hoặc kéo thả tệp vào trang này, hoặc dán ảnh (Ctrl+V). Có thể chọn nhiều tệp.",
  dropNow: "Thả tệp vào đây",
  options: "Tùy chọn cho PDF và TIFF",
  pagesLabel: "Các trang cần đọc",
  pagesHint: "Ví dụ 1-3,7. Để trống thì đọc tất cả.",
  ocrLabel: "Lớp văn bản có sẵn trong PDF",
  ocrAuto: "Dùng khi đáng tin cậy",
  ocrAlways: "Bỏ qua, đọc từ ảnh",
  ocrNever: "Luôn dùng",
  filesTitle: "Các tệp",
  privacy: "Tệp chỉ được gửi đến máy chủ của trang này và không bị lưu lại.",
  pictureTitle: "Ảnh",
  pager: "Trang",
  previousPage: "Trang trước",
  nextPage: "Trang sau",
  pageOf: "Trang {page}/{count}",
  boxes: "Khung trên ảnh",
  boxWords: "Từ",
  boxLines: "Dòng",
  zoom: "Phóng to, thu nhỏ",
  zoomIn: "Phóng to",
  zoomOut: "Thu nhỏ",
  stageEmpty: "Chưa có ảnh nào.",
  stage: "Ảnh của trang, cuộn được",
  stageReading: "Đang đọc…",
  stageNoPicture: "Không hiển thị được ảnh của trang này.",
  pictureOf: "Trang {page} của {name}",
  textTitle: "Nội dung đọc được",
  downloads: "Sao chép và tải về",
  copy: "Sao chép",
  downloadText: "Văn bản",
  downloadPdf: "PDF tìm kiếm được",
  textHint: "Chọn một từ để xem chi tiết và sửa. Từ có gạch chấm bên dưới là từ chưa chắc chắn.",
  keysHint: "Dùng các phím mũi tên để chuyển giữa các từ, Enter để mở.",
  textEmpty: "Không thấy chữ nào trên trang này.",
  warnings: "Lưu ý",
  lineNumber: "Dòng {number}",
  deleted: "(đã xóa)",
  unsure: "chưa chắc chắn",
  corrected: "đã sửa",
  word: "Từ “{text}”, độ tin cậy {percent}",
  line: "Dòng “{text}”, độ tin cậy {percent}",
  wordCorrected: "Từ “{text}”, bạn đã sửa",
  lineCorrected: "Dòng “{text}”, bạn đã sửa",
  close: "Đóng",
  cropOf: "Ảnh cắt của “{text}”",
  correctLabel: "Sửa thành",
  save: "Lưu",
  undo: "Hoàn tác",
  saved: "Đã sửa thành “{text}”.",
  undone: "Đã trả lại như lúc đọc.",
  alternatives: "Cũng có thể là",
  letters: "Độ tin cậy của từng ký tự",
  look: "Mô hình đã nhìn vào đâu?",
  looking: "Đang xem lại…",
  looked: "Chỗ càng đỏ là chỗ mô hình nhìn càng nhiều khi viết ký tự đó.",
  lookFailed: "Không xem được: {line}",
  lookEnd: "hết",
  lookSpace: "dấu cách",
  waiting: "Đang chờ",
  reading: "Đang đọc…",
  readingOf: "Đang đọc, đã xong {count}/{total} trang",
  busy: "Máy chủ đang bận, thử lại sau {count} giây",
  done: "Xong, {count} trang",
  cancelled: "Đã dừng",
  failed: "Lỗi",
  cancel: "Dừng",
  cancelFile: "Dừng đọc {name}",
  removeFile: "Bỏ {name} khỏi danh sách",
  retry: "Thử lại",
  retryFile: "Thử lại {name}",
  doneFile: "Đã đọc xong {name}.",
  copied: "Đã sao chép.",
  copyFailed: "Trình duyệt không cho phép sao chép. Hãy bôi đen văn bản rồi sao chép thủ công.",
  downloaded: "Đã tải {name} về máy.",
  makingPdf: "Đang tạo PDF…",
  pdfWithoutCorrections: "PDF giữ nguyên chữ như lúc đọc, không có những chỗ bạn đã sửa.",
  notFile: "Không có tệp nào trong nội dung bạn vừa thả.",
  errorOffline: "Không kết nối được với máy chủ.",
  errorCut: "Kết nối bị ngắt giữa chừng, có thể còn thiếu trang.",
  errorBadInput: "Không đọc được tệp này.",
  errorTooLarge: "Tệp này quá lớn.",
  errorType: "Loại tệp này không đọc được.",
  errorBusy: "Máy chủ đang bận. Hãy thử lại sau.",
  errorTime: "Đọc tệp này mất quá nhiều thời gian nên máy chủ đã dừng lại.",
  errorSlow: "Gửi tệp quá chậm nên máy chủ đã ngắt.",
  errorServer: "Máy chủ gặp lỗi.",
  "warning-page-skipped": "Không mở được trang này.",
  "warning-pages-missing": "Tệp không có đủ số trang bạn muốn đọc.",
  "warning-text-layer": "Lớp văn bản có sẵn của trang này có thể sai.",
  "warning-others-ignored": "Tệp còn những trang hoặc khung hình khác chưa được đọc.",
  "warning-small-text": "Trang có nhiều chữ nhỏ chưa được tìm hết. Hãy cắt thành nhiều ảnh.",
  "warning-too-small": "Ảnh hoặc một số dòng quá nhỏ, không đọc được.",
  "warning-too-much-text": "Trang có quá nhiều chữ, một số dòng chưa được đọc. Hãy cắt thành nhiều ảnh.",
  "warning-low-confidence": "Một số dòng bị bỏ vì nhiều khả năng đọc sai.",
  "warning-ink-unread": "Có nét mực trông như chữ nhưng không đọc được.",
};

const EN = {
  title: "Nhìn – read Vietnamese text in pictures",
  subtitle: "Reads Vietnamese text in pictures and PDFs",
  skip: "Skip to the text",
  language: "Language",
  inputTitle: "Your pictures and PDFs",
  choose: "Choose files",
  photograph: "Take a photo",
  dropHint: "Or drop files on the page, or paste a picture (Ctrl+V). You can choose several.",
  dropNow: "Drop the files here",
  options: "Options for PDF and TIFF",
  pagesLabel: "Pages to read",
  pagesHint: "For example 1-3,7. Leave it empty for all pages.",
  ocrLabel: "Text layer of a PDF",
  ocrAuto: "Use it where it can be trusted",
  ocrAlways: "Ignore it and read the picture",
  ocrNever: "Always use it",
  filesTitle: "Files",
  privacy: "Files go only to this page's own server, which does not keep them.",
  pictureTitle: "Picture",
  pager: "Page",
  previousPage: "Previous page",
  nextPage: "Next page",
  pageOf: "Page {page} of {count}",
  boxes: "Boxes on the picture",
  boxWords: "Words",
  boxLines: "Lines",
  zoom: "Zoom",
  zoomIn: "Zoom in",
  zoomOut: "Zoom out",
  stageEmpty: "No picture yet.",
  stage: "Picture of the page, scrollable",
  stageReading: "Reading…",
  stageNoPicture: "The picture of this page cannot be shown.",
  pictureOf: "Page {page} of {name}",
  textTitle: "Text",
  downloads: "Copy and download",
  copy: "Copy",
  downloadText: "Plain text",
  downloadPdf: "Searchable PDF",
  textHint: "Choose a word to see its details and correct it. Dots under a word mark doubt.",
  keysHint: "The arrow keys move between words, Enter opens one.",
  textEmpty: "No text was found on this page.",
  warnings: "Warnings",
  lineNumber: "Line {number}",
  deleted: "(deleted)",
  unsure: "in doubt",
  corrected: "corrected",
  word: "Word “{text}”, confidence {percent}",
  line: "Line “{text}”, confidence {percent}",
  wordCorrected: "Word “{text}”, corrected by you",
  lineCorrected: "Line “{text}”, corrected by you",
  close: "Close",
  cropOf: "Picture of “{text}”",
  correctLabel: "Correct it",
  save: "Save",
  undo: "Undo",
  saved: "Corrected to “{text}”.",
  undone: "Back to what was read.",
  alternatives: "It may be",
  letters: "Letters and their confidence",
  look: "Where did the model look?",
  looking: "Looking…",
  looked: "The redder, the more the model looked there while it wrote the letter.",
  lookFailed: "This cannot be shown: {line}",
  lookEnd: "end",
  lookSpace: "space",
  waiting: "Waiting",
  reading: "Reading…",
  readingOf: "Reading, {count} of {total} pages done",
  busy: "The server is busy; trying again in {count} second|The server is busy; trying again in {count} seconds",
  done: "Done, {count} page|Done, {count} pages",
  cancelled: "Stopped",
  failed: "Error",
  cancel: "Stop",
  cancelFile: "Stop reading {name}",
  removeFile: "Remove {name} from the list",
  retry: "Try again",
  retryFile: "Try again: {name}",
  doneFile: "{name} has been read.",
  copied: "Copied.",
  copyFailed: "The browser does not allow copying. Select the text and copy it by hand.",
  downloaded: "{name} was downloaded.",
  makingPdf: "Making the PDF…",
  pdfWithoutCorrections: "The PDF holds the text as it was read, without your corrections.",
  notFile: "There is no file in what you dropped.",
  errorOffline: "The server cannot be reached.",
  errorCut: "The connection broke off; pages may be missing.",
  errorBadInput: "This file cannot be read.",
  errorTooLarge: "This file is too large.",
  errorType: "Files of this type cannot be read.",
  errorBusy: "The server is busy. Try again later.",
  errorTime: "Reading this file took too long, so the server stopped.",
  errorSlow: "The file arrived too slowly, so the server broke off.",
  errorServer: "The server failed.",
  "warning-page-skipped": "This page could not be opened.",
  "warning-pages-missing": "The file has fewer pages than you asked for.",
  "warning-text-layer": "The text layer of this page may be wrong.",
  "warning-others-ignored": "The file has pages or frames that were not read.",
  "warning-small-text": "The page has more small text than is searched for. Cut it into several pictures.",
  "warning-too-small": "The picture or some of its lines are too small to read.",
  "warning-too-much-text": "The page has too much text; some lines were not read. Cut it into several pictures.",
  "warning-low-confidence": "Some lines were left out because they are probably misread.",
  "warning-ink-unread": "Some ink looks like text but could not be read.",
};

export const TEXTS = { vi: VI, en: EN };
const STORED = "nhin-language";
let language = "en";

/** Return the language that was chosen before, or else the browser's; English if it is neither. */
export function findLanguage() {
  let stored = null;
  try {
    stored = localStorage.getItem(STORED);
  } catch { /* storage may be switched off */ }
  const known = [stored, ...(navigator.languages ?? [navigator.language])].map((name) => name?.slice(0, 2));
  return known.find((name) => name in TEXTS) ?? "en";
}

/** Change the language of the page; `isChoice`: the user's, kept for the next visit. */
export function setLanguage(name, isChoice) {
  language = name;
  if (isChoice) {
    try {
      localStorage.setItem(STORED, name);
    } catch { /* storage may be switched off */ }
  }
  document.documentElement.lang = name;
  document.title = say("title");
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", say(element.dataset.label));
    if (element.tagName === "BUTTON") element.title = say(element.dataset.label);
  }
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === name));
  }
}

/** Return a text in the language of the page, with its {names} filled in. */
export function say(key, values = {}) {
  const forms = TEXTS[language][key].split("|");
  const form = forms.length > 1 && values.count !== 1 ? forms[1] : forms[0];
  return form.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** Return a share (0 to 1) as a percentage. Only what is certain is 100%. */
export function formatPercent(share) {
  const percent = share < 1 ? Math.min(99.9, Math.floor(share * 1000) / 10) : 100;
  const options = { maximumFractionDigits: percent > 99 ? 1 : 0 };
  return `${(percent > 99 ? percent : Math.floor(percent)).toLocaleString(language, options)}%`;
}
