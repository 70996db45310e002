/** The ways in which files come to the page: chosen, photographed, dropped, pasted. */

/** Call `onFiles` with files from everywhere, `onNothing` for a drop without any. */
export function listenForFiles(onFiles, onNothing) {
  for (const [button, input] of [["choose", "file-input"], ["photograph", "camera-input"]]) {
    const field = document.getElementById(input);
    document.getElementById(button).addEventListener("click", () => field.click());
    field.addEventListener("change", () => {
      onFiles([...field.files]);
      field.value = ""; // so that the same file can be chosen again
    });
  }
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    onFiles(files);
  });
  let depth = 0;
  const cover = document.getElementById("drop-cover");
  const mark = (isOver) => cover.classList.toggle("over", isOver);
  document.addEventListener("dragenter", (event) => {
    event.preventDefault();
    depth += 1;
    mark(true);
  });
  document.addEventListener("dragleave", () => {
    depth -= 1;
    mark(depth > 0);
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    mark(false);
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length) onFiles(files);
    else onNothing();
  });
}
