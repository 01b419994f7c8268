// Asking again and again whether something is new: often while there is, ever more seldom while there is not, and not
// at all while nobody looks at the page.

const FAST = 3000; // milliseconds
const SLOW = 60000;
const LATE = 5 * 60000; // after the end, in which late news may come

export class Polling {
  // `ask` resolves to whether there was news; `isOver` says whether there will hardly be any more.
  constructor(ask, isOver, onTrouble = () => {}) {
    Object.assign(this, { ask, isOver, onTrouble, wait: FAST, timer: null, failures: 0, lastNews: Date.now() });
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.timer);
      this.wait = FAST;
      if (!document.hidden) this.plan(0);
    });
    this.plan();
  }

  plan(delay = this.wait * (0.9 + Math.random() / 5)) {
    clearTimeout(this.timer);
    if (document.hidden || (this.isOver() && Date.now() - this.lastNews > LATE)) return;
    this.timer = setTimeout(() => this.turn(), delay);
  }

  async turn() {
    try {
      const isNew = await this.ask();
      if (isNew) this.lastNews = Date.now();
      this.wait = isNew && !this.isOver() ? FAST : Math.min(SLOW, this.wait * 1.5);
      if (this.failures) this.onTrouble("");
      this.failures = 0;
    } catch (error) {
      this.failures += 1;
      this.wait = Math.min(SLOW, this.wait * 2);
      if (error.status === 401) return this.onTrouble("You have been signed out. Reload the page to go on.");
      if (error.status === 404) return this.onTrouble("This has been deleted, or you may no longer see it.");
      if (this.failures > 1) this.onTrouble("The server does not answer; the page goes on trying.");
    }
    this.plan();
    return undefined;
  }
}
