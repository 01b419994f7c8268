// The console of a run: chunks of lines in the order of their ids, with colours; follows the end unless scrolled up.

import { element, getJson } from "./charts.js";
import { freshState, render } from "./ansi.js";

const MOST = 2000; // chunks that the page keeps
const STAMP = /^\[(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)\] /; // clients put it before each line, in their own time

const settled = (line) => line.replace(/\r+$/, "").split("\r").at(-1); // what a carriage return had overwritten is gone
const isBefore = (a, b) => a.length < b.length || (a.length === b.length && a < b); // ids have 64 bits

export class Console {
  constructor(root, address) {
    Object.assign(this, { root, address, chunks: [] });
    this.scroller = root.querySelector("[data-console]");
    this.lines = root.querySelector("[data-lines]");
    this.bars = root.querySelector("[data-bars]");
    this.older = root.querySelector("[data-older]");
    this.follow = root.querySelector("[data-follow]");
    this.older.addEventListener("click", () => this.loadOlder());
    this.scroller.addEventListener("scroll", () => {
      const { scrollTop, clientHeight, scrollHeight } = this.scroller;
      this.follow.checked = scrollTop + clientHeight >= scrollHeight - 8;
    });
    this.follow.addEventListener("change", () => this.settle());
  }

  settle() {
    if (this.follow.checked) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  async load() {
    const found = await getJson(this.address);
    this.chunks = [];
    this.lines.replaceChildren();
    this.older.hidden = !found.hasMore;
    this.take(found.console);
    this.show(found.progress);
  }

  async loadOlder() {
    const found = await getJson(`${this.address}&before=${this.chunks[0].id}`);
    this.follow.checked = false;
    const below = this.scroller.scrollHeight - this.scroller.scrollTop;
    this.older.hidden = !found.hasMore;
    this.take(found.console);
    this.scroller.scrollTop = this.scroller.scrollHeight - below;
  }

  // Put pieces {id, text} where they belong, whatever order they come in.
  take(pieces) {
    for (const { id, text } of pieces) {
      let at = this.chunks.length;
      while (at > 0 && isBefore(id, this.chunks[at - 1].id)) at -= 1;
      if (this.chunks[at - 1]?.id === id) continue;
      const drawn = this.draw(text);
      this.lines.insertBefore(drawn, this.chunks[at]?.drawn ?? null);
      this.chunks.splice(at, 0, { id, drawn });
    }
    while (this.follow.checked && this.chunks.length > MOST) {
      this.chunks.shift().drawn.remove();
      this.older.hidden = false;
    }
    this.settle();
  }

  draw(text) {
    const chunk = element("div", "chunk");
    const state = freshState();
    for (const line of text.split("\n")) {
      const stamp = line.match(STAMP);
      if (stamp) {
        const time = element("span", "stamp", `${stamp[2]} `);
        time.title = stamp[1];
        chunk.append(time);
      }
      chunk.append(render(settled(line).replace(STAMP, ""), state), "\n");
    }
    return chunk;
  }

  // The progress bars that the client shows now, below the lines.
  show(bars) {
    this.bars.replaceChildren(...bars.map((bar) => render(`${settled(bar)}\n`)));
    this.settle();
  }
}
