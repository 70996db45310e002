// Reads pictures, apart from the page: Pyodide runs nhin's Python, ONNX Runtime Web runs its networks.
const runtime = new URL("runtime/", import.meta.url).href;
let last = Promise.resolve();

async function start() {
  if (!("Suspending" in WebAssembly)) throw new Error("old-browser");
  postMessage({ step: "runtime" });
  const [ort, { loadPyodide }] = await Promise.all([
    import(`${runtime}ort.wasm.bundle.min.mjs`),
    import(`${runtime}pyodide.mjs`),
  ]);
  ort.env.wasm.numThreads = 1; // more need headers that a plain server does not send
  ort.env.wasm.wasmPaths = { wasm: `${runtime}ort-wasm-simd-threaded.wasm` };
  ort.env.logLevel = "error";
  const python = await loadPyodide({ indexURL: runtime });
  await python.loadPackage(["numpy", "pillow", "opencv-python"], { messageCallback: () => {} });
  postMessage({ step: "networks" });
  const answer = await fetch(new URL("nhin.zip", import.meta.url));
  if (!answer.ok) throw new Error(`nhin.zip: ${answer.status}`);
  python.unpackArchive(await answer.arrayBuffer(), "zip");
  const reader = python.pyimport("nhin.serve.in_browser");
  await reader.start.callPromising(ort);
  return reader;
}

async function read(reader, file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  return JSON.parse(await reader.read_picture.callPromising(bytes, file.name));
}

// The last line of a Python error tells what is wrong.
const explain = (why) => String(why.message || why).trim().split("\n").at(-1);

const started = start();
started.then(
  () => postMessage({ step: "ready" }),
  (why) => postMessage({ failure: explain(why) }),
);
onmessage = ({ data: { id, file } }) => {
  last = last.then(async () => {
    let reading, begin;
    try {
      const reader = await started;
      begin = performance.now();
      postMessage({ id, started: true });
      reading = await read(reader, file);
    } catch (why) {
      reading = { error: explain(why) };
    }
    postMessage({ id, reading, seconds: (performance.now() - begin) / 1000 });
  });
};
