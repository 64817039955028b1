import {getGlobalLiteRtPromise, loadAndCompile, loadLiteRt, Tensor} from '@litertjs/core';

const RUNTIME = new URL('node_modules/@litertjs/core/wasm/', import.meta.url).href;

/** A `.tflite` file that ends in TFLite_Detection_PostProcess, run on one thread of the CPU. */
export class Detector {
  /**
   * @param {string} model address of the file; its labels.txt stands beside it.
   * @return {!Promise<!Detector>}
   */
  static async load(model) {
    const file = new URL(model, document.baseURI);
    const [bytes, labels] = await Promise.all([fetched(file), fetched(new URL('labels.txt', file))]);
    await (getGlobalLiteRtPromise() ?? loadLiteRt(RUNTIME));
    const compiled = await loadAndCompile(new Uint8Array(bytes), {accelerator: 'wasm'});
    return new Detector(compiled, new TextDecoder().decode(labels).trimEnd().split('\n'));
  }

  constructor(model, labels) {
    const [input] = model.getInputDetails();
    const outputs = model.getOutputDetails().map((output) => `[${output.shape}]`).join(' ');
    // The runtime gives an output no more room than the shape that the file states.
    if (!/^\[1,(\d+),4\] \[1,\1\] \[1,\1\] \[1\]$/.test(outputs)) {
      throw new Error(`expected outputs [1,N,4] [1,N] [1,N] [1], found ${outputs}; export with the post-processing op`);
    }
    this.model = model;
    this.labels = labels;
    this.shape = [...input.shape];
    this.dtype = input.dtype;
    const [, height, width] = this.shape;
    this.context = Object.assign(document.createElement('canvas'), {width, height})
      .getContext('2d', {willReadFrequently: true});
  }

  /**
   * @param {!CanvasImageSource} image a picture, or a frame of a video.
   * @param {number} leastScore below which nothing is returned.
   * @return {!Promise<!Array<{label: string, score: number, box: !Array<number>}>>} by descending score; a box is
   *     xmin, ymin, xmax, ymax as fractions of the image.
   */
  async detect(image, leastScore = 0.4) {
    const input = new Tensor(this.pixels(image), this.shape);
    const outputs = await this.model.run([input]);
    const [boxes, classes, scores, count] = await Promise.all(outputs.map((output) => output.data()));
    [input, ...outputs].forEach((tensor) => tensor.delete());
    return [...scores.subarray(0, count[0])].map((score, row) => {
      const [ymin, xmin, ymax, xmax] = boxes.subarray(4 * row, 4 * row + 4);
      return {label: this.labels[classes[row]], score, box: [xmin, ymin, xmax, ymax]};
    }).filter((found) => found.score >= leastScore);
  }

  /** The image stretched to the size of the input: RGB bytes, or (byte - 128) / 128. */
  pixels(image) {
    const [, height, width] = this.shape;
    this.context.clearRect(0, 0, width, height);
    this.context.drawImage(image, 0, 0, width, height);
    const rgb = this.context.getImageData(0, 0, width, height).data.filter((_, place) => place % 4 !== 3);
    return this.dtype === 'uint8' ? new Uint8Array(rgb) : Float32Array.from(rgb, (byte) => (byte - 128) / 128);
  }
}

async function fetched(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`expected ${address}, found nothing there (${answer.status})`);
  return answer.arrayBuffer();
}
