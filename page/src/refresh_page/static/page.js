// Keeps an open page as new as the cluster is: told of a change, it asks for its own address and takes over what differs.
"use strict";
(() => {
  const place = document.getElementById("live");
  const main = document.getElementById("main");
  let asking = false, again = false, poll = 0;

  const say = (live) => {
    place.textContent = live ? place.dataset.live : place.dataset.lost;
    place.classList.toggle("lost", !live);
  };

  // Only what differs is taken over, so that focus, open details and what a screen reader reads stay where they are.
  const alike = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName && one.id === other.id;
  const merge = (old, fresh) => {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) { old.data = fresh.data; return; }
    const parts = [...old.childNodes], wanted = [...fresh.childNodes];
    if (parts.length === wanted.length && parts.every((part, i) => alike(part, wanted[i]))) {
      parts.forEach((part, i) => merge(part, wanted[i]));
    } else {
      const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      old.replaceChildren(...wanted);
      if (focused) [...old.querySelectorAll("a")].find((a) => a.getAttribute("href") === focused)?.focus();
    }
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    for (const { name, value } of [...fresh.attributes]) if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
  };

  const refresh = async () => {
    if (asking) { again = true; return; }
    asking = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById("main");
        if (fresh) {
          if (document.activeElement?.id !== "q") merge(main, document.adoptNode(fresh));
          document.title = page.title;
          document.body.dataset.version = page.body.dataset.version;
          ages();
        }
      }
    } catch { say(false); } finally {
      asking = false;
      if (again) { again = false; refresh(); }
    }
  };

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
    events.onopen = () => { clearInterval(poll); poll = 0; say(true); };
    events.onmessage = ({ data }) => { if (data !== document.body.dataset.version) refresh(); };
    events.onerror = () => {
      say(false);
      if (events.readyState === EventSource.CLOSED) {
        clearInterval(poll);
        poll = setInterval(refresh, 30000);
        setTimeout(listen, 30000);
      }
    };
    addEventListener("pagehide", () => events.close(), { once: true });
  };

  ages();
  setInterval(ages, 10000);
  if (document.body.dataset.version) listen();
})();
