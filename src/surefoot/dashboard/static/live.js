// Puts the parts of the page that have changed in their place, as the server sends them.
"use strict";
{
  const source = new URL(document.currentScript.dataset.source, location.href);
  const connection = document.getElementById("connection");

  const place = ({ id, html }) => {
    const part = document.getElementById(id);
    if (!part) return;
    const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
    const scrolled = [...part.querySelectorAll("pre, .scroll")].map((e) => [e.scrollTop, e.scrollLeft]);
    const opened = [...part.querySelectorAll("details")].map((e) => e.open);
    part.innerHTML = html;
    part.querySelectorAll("details").forEach((e, i) => (e.open = opened[i] ?? e.open));
    part.querySelectorAll("pre, .scroll").forEach((e, i) => {
      if (scrolled[i]) [e.scrollTop, e.scrollLeft] = scrolled[i];
    });
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  };

  const elapsed = () => {
    const { seconds, minutes } = document.documentElement.dataset;
    for (const time of document.querySelectorAll(".elapsed")) {
      const s = Math.max(0, Date.now() / 1000 - Number(time.dataset.since));
      time.textContent = s < 120 ? `${s.toFixed(0)}${seconds}` : `${(s / 60).toFixed(0)}${minutes}`;
    }
  };
  setInterval(elapsed, 1000);

  let stream = null;
  let lost = 0;
  const connect = () => {
    stream = new EventSource(source);
    stream.addEventListener("open", () => {
      clearTimeout(lost);
      connection.hidden = true;
    });
    stream.addEventListener("part", (event) => place(JSON.parse(event.data)));
    stream.addEventListener("gone", () => location.reload());
    stream.addEventListener("error", () => {
      clearTimeout(lost);
      lost = setTimeout(() => {
        connection.textContent = connection.dataset.lost;
        connection.hidden = false;
      }, 1500);
      if (stream.readyState === EventSource.CLOSED) setTimeout(connect, 2000); // it was answered with an error
    });
  };
  connect();
  addEventListener("pagehide", () => stream?.close());
  addEventListener("pageshow", (event) => event.persisted && connect());
}
