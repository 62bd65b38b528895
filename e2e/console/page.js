// What the tests find things by, as people do: by what they are and what they are called.
(() => {
  const seen = (e) => {
    const r = e.getBoundingClientRect();
    return r.width > 0 && r.height > 0 && getComputedStyle(e).visibility !== "hidden";
  };
  const kinds = {
    button: "button, [role=button]", link: "a[href]", menuitem: "[role=menuitem]", option: "[role=option]", tab: "[role=tab]", heading: "h1, h2, h3",
    field: "input:not([type=hidden]), textarea", row: "tr", status: "[role=status]", alert: "[role=alert]",
  };
  const clean = (text) => (text ?? "").replace(/\s+/g, " ").replace(/ \*$/, "").trim();
  const names = (e) => {
    const by = e.getAttribute("aria-labelledby");
    return [e.getAttribute("aria-label"), ...[...(e.labels ?? [])].map((l) => l.textContent), by && document.getElementById(by)?.textContent, e.textContent].filter(Boolean).map(clean);
  };
  // The topmost dialog if there is one: what lies below cannot be used.
  const top = () => [...document.querySelectorAll("[role=dialog]")].filter(seen).pop() ?? document;
  const t = (window.__t = {
    top,
    find(kind, name, within) {
      const is = name instanceof RegExp ? (s) => name.test(s) : (s) => s === name;
      // Lists of choices lie outside of the dialog that they belong to.
      const root = within ?? (kind === "option" || kind === "menuitem" || kind === "status" ? document : top());
      return [...root.querySelectorAll(kinds[kind])].find((e) => (seen(e) || (e.labels && [...e.labels].some(seen))) && names(e).some(is));
    },
    // Where to click: its middle, unless something covers it.
    at(e) {
      if (!e || e.disabled || e.getAttribute("aria-disabled") === "true" || e.dataset.disabled === "true") return null;
      const shown = seen(e) ? e : [...(e.labels ?? [])].find(seen);
      if (!shown) return null;
      const view = shown.getBoundingClientRect();
      if (view.top < 70 || view.bottom > innerHeight - 10) shown.scrollIntoView({ block: "center", behavior: "instant" });
      const r = shown.getBoundingClientRect();
      const [x, y] = [r.left + r.width / 2, r.top + r.height / 2];
      const hit = document.elementFromPoint(x, y);
      if (!hit || !(shown.contains(hit) || hit.contains(shown) || [...(e.labels ?? [])].some((l) => l.contains(hit)))) return null;
      return [x, y];
    },
    // Where to click, once it has stayed there: lists of choices find their place after they appear.
    async still(find) {
      const was = t.at(find());
      if (!was) return null;
      await new Promise((done) => setTimeout(done, 40));
      await new Promise((done) => requestAnimationFrame(done));
      const is = t.at(find());
      return is && is[0] === was[0] && is[1] === was[1] ? is : null;
    },
    focused(e) {
      if (!e) return false;
      e.focus();
      e.select?.();
      return document.activeElement === e;
    },
    // Times have parts of their own to type into: set as a whole.
    set(e, value) {
      Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(e, value);
      e.dispatchEvent(new Event("input", { bubbles: true }));
      return true;
    },
    text: (e) => clean((e ?? top()).innerText ?? document.body.innerText),
    settled: () => !document.querySelector('[aria-label="Loading"], [aria-busy=true], .mantine-Skeleton-root') && !!document.querySelector("h1"),
  });
})();
