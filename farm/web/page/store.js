// The farm as this page knows it: one picture, kept up to date by server-sent events.
//
// A connection begins with the whole picture, so that after a loss of it, or a restart of the farm, all is right again.
// What changes is told to listeners once an animation frame at most.

const SECTIONS = ["workers", "work", "shots", "jobs", "farm", "minutes", "bars", "recent"];
const RETRY_MILLISECONDS = 2000;

/** The farm tells something every 15 seconds, changed or not; a connection without that is dead, whatever the browser thinks. */
const SILENCE_MILLISECONDS = 45000;

export class Store {
  picture = Object.fromEntries(SECTIONS.map((section) => [section, new Map()]));
  isLive = false;
  #listeners = new Set();
  #changed = null;
  #source = null;
  #retry = null;
  #silence = null;
  #skew = 0;

  /** Seconds since the epoch by the farm's clock. */
  now() {
    return Date.now() / 1000 + this.#skew;
  }

  /** Calls `listener(changed)` after changes, where `changed` has a set of keys for each section; gives what ends it. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  connect() {
    this.disconnect();
    const source = new EventSource("/live");
    this.#source = source;
    source.addEventListener("picture", (event) => this.#take(event, true));
    source.addEventListener("change", (event) => this.#take(event, false));
    this.#expectMore();
    source.onerror = () => {
      this.#setLive(false);
      // A browser tries again by itself after a broken connection, but never after a refusal.
      if (source.readyState === EventSource.CLOSED) {
        this.#retry = setTimeout(() => window.dispatchEvent(new Event("connection-refused")), RETRY_MILLISECONDS);
      }
    };
  }

  disconnect() {
    clearTimeout(this.#retry);
    clearTimeout(this.#silence);
    this.#source?.close();
    this.#source = null;
  }

  #take(event, isWhole) {
    const { now, picture } = JSON.parse(event.data);
    this.#skew = now - Date.now() / 1000;
    const changed = this.#changed ?? Object.fromEntries(SECTIONS.map((section) => [section, new Set()]));
    for (const section of SECTIONS) {
      const known = this.picture[section];
      const told = picture[section] ?? {};
      if (isWhole) {
        for (const key of known.keys()) {
          if (!(key in told)) {
            known.delete(key);
            changed[section].add(key);
          }
        }
      }
      for (const [key, card] of Object.entries(told)) {
        if (card === null) known.delete(key);
        else known.set(key, card);
        changed[section].add(key);
      }
    }
    this.#setLive(true);
    if (this.#changed === null) requestAnimationFrame(() => this.#tell());
    this.#changed = changed;
    this.#expectMore();
  }

  #expectMore() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => {
      this.#setLive(false);
      this.connect();
    }, SILENCE_MILLISECONDS);
  }

  #tell() {
    const changed = this.#changed;
    this.#changed = null;
    performance.mark("update-start");
    for (const listener of this.#listeners) listener(changed);
    performance.measure("farm-update", "update-start");
    performance.clearMarks("update-start");
  }

  #setLive(isLive) {
    if (this.isLive === isLive) return;
    this.isLive = isLive;
    window.dispatchEvent(new Event("live-changed"));
  }
}
