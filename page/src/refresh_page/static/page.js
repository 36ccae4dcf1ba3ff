// Keeps an open page up to date: on each server-sent event, it fetches its own address and merges what changed.
"use strict";
(() => {
  const indicator = document.getElementById("live");
  const main = document.getElementById("main");
  let fetching = false, pending = false, poll = 0;

  const showState = (live) => {
    indicator.textContent = live ? indicator.dataset.live : indicator.dataset.lost;
    indicator.classList.toggle("lost", !live);
  };

  // Replace only what differs, so that focus, open details and the position of a screen reader are kept.
  const alike = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName && one.id === other.id;
  const merge = (old, fresh) => {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) { old.data = fresh.data; return; }
    const parts = [...old.childNodes], newParts = [...fresh.childNodes];
    if (parts.length === newParts.length && parts.every((part, i) => alike(part, newParts[i]))) {
      parts.forEach((part, i) => merge(part, newParts[i]));
    } else {
      const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      old.replaceChildren(...newParts);
      if (focused) [...old.querySelectorAll("a")].find((a) => a.getAttribute("href") === focused)?.focus();
    }
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    for (const { name, value } of [...fresh.attributes]) if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
  };

  const refresh = async () => {
    if (fetching) { pending = true; return; }
    fetching = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById("main");
        if (fresh) {
          if (!document.activeElement?.closest("form")) merge(main, document.adoptNode(fresh));
          document.title = page.title;
          document.body.dataset.version = page.body.dataset.version;
          ages();
          draw();
        }
      }
    } catch { showState(false); } finally {
      fetching = false;
      if (pending) { pending = false; refresh(); }
    }
  };

  // The size of a graph is kept while its page is updated.
  const SMALLEST = 0.2, LARGEST = 4, STEP = 1.25, KEYS = { "+": "in", "=": "in", "-": "out", 0: "fit" };
  let scale = 1;
  const draw = () => {
    const graph = document.querySelector("svg.graph");
    if (!graph) return;
    const { width, height } = graph.viewBox.baseVal;
    graph.setAttribute("width", Math.round(width * scale));
    graph.setAttribute("height", Math.round(height * scale));
    document.getElementById("zoom").hidden = false;
    document.getElementById("zoomed").textContent = `${Math.round(scale * 100)} %`;
  };
  const zoom = (how) => {
    const box = document.querySelector(".drawing"), { width, height } = box.querySelector("svg.graph").viewBox.baseVal;
    const style = getComputedStyle(box), room = box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const wanted = { in: scale * STEP, out: scale / STEP, fit: Math.min(1, room / width, innerHeight / height) }[how];
    const before = scale, middle = [box.scrollLeft + box.clientWidth / 2, box.scrollTop + box.clientHeight / 2];
    scale = Math.min(LARGEST, Math.max(SMALLEST, wanted));
    draw();
    box.scrollTo(middle[0] * scale / before - box.clientWidth / 2, middle[1] * scale / before - box.clientHeight / 2);
  };
  document.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-zoom]");
    if (button) zoom(button.dataset.zoom);
  });
  document.addEventListener("keydown", (event) => {
    if (!event.target.closest(".drawing") || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
    event.preventDefault();
    zoom(KEYS[event.key]);
  });

  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const format = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "always", style: "short" });
  const ages = () => {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
      const [unit, size] = units.find(([, each]) => Math.abs(seconds) >= each) ?? units[3];
      const text = format.format(Math.trunc(seconds / size), unit);
      if (time.textContent !== text) time.textContent = text;
    }
  };

  const listen = () => {
    const events = new EventSource(location.href);
    events.onopen = () => { clearInterval(poll); poll = 0; showState(true); };
    events.onmessage = ({ data }) => { if (data !== document.body.dataset.version) refresh(); };
    events.onerror = () => {
      showState(false);
      if (events.readyState === EventSource.CLOSED) {
        clearInterval(poll);
        poll = setInterval(refresh, 30000);
        setTimeout(listen, 30000);
      }
    };
    addEventListener("pagehide", () => events.close(), { once: true });
  };

  ages();
  draw();
  setInterval(ages, 10000);
  if (document.body.dataset.version) listen();
})();
