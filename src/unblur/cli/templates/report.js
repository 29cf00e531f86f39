"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  document.documentElement.classList.add("js");

  /* The list: filters, search and order. */

  const MOST_CHANGED_SHARE = 0.1, MOST_CHANGED_LEAST = 12;
  const tools = $("tools"), list = $("photos");
  const cards = [...list.children];
  const inOrder = new Map(cards.map((card, index) => [card, index]));
  const change = (card) => Number(card.dataset.change ?? -1);
  const orders = {
    order: (a, b) => inOrder.get(a) - inOrder.get(b),
    change: (a, b) => change(b) - change(a),
    gain: (a, b) => (b.dataset.gain ?? -Infinity) - (a.dataset.gain ?? -Infinity) || orders.order(a, b),
    name: (a, b) => a.dataset.name.localeCompare(b.dataset.name, undefined, { numeric: true }),
    seconds: (a, b) => b.dataset.seconds - a.dataset.seconds,
  };
  let shown = cards;

  function select() {
    const show = tools.elements.show.value;
    const find = tools.elements.find.value.trim().toLowerCase();
    let order = orders[tools.elements.sort.value];
    shown = cards.filter((card) => card.dataset.name.toLowerCase().includes(find));
    if (show === "changed") {
      const changed = shown.filter((card) => card.dataset.change).sort(orders.change);
      shown = changed.slice(0, Math.max(MOST_CHANGED_LEAST, changed.length * MOST_CHANGED_SHARE));
      if (order === orders.order) order = orders.change;
    } else if (show !== "all") {
      shown = shown.filter((card) => card.dataset.status === show || card.dataset.blur === show);
    }
    shown.sort(order);
    list.replaceChildren(...shown); // far faster than to hide thousands and to move the others
    $("none").hidden = shown.length > 0;
    const all = cards.length.toLocaleString("en");
    $("shown").textContent =
      shown.length === cards.length ? `${all} photos` : `${shown.length.toLocaleString("en")} of ${all} photos`;
  }

  tools.addEventListener("input", select);
  tools.addEventListener("submit", (event) => event.preventDefault());
  if (tools.elements.show.value !== "all" || tools.elements.find.value) select(); // after a reload

  /* The viewer: one photo, before on the left of the handle and after on its right. */

  const viewer = $("viewer"), frame = $("frame"), stage = $("stage"), canvas = $("canvas");
  const before = $("before"), after = $("after"), handle = $("handle"), split = $("split"), note = $("note");
  const ground = $("ground"), strength = $("strength");
  const zoomOf = () => Number(document.querySelector("#zoom input:checked").value);
  let current = null, width = 1, height = 1, isWhole = false, loads = 0;

  const ofCard = (selector) => current.querySelector(selector)?.src;
  const small = () => ({ before: ofCard(".pair .before"), after: ofCard(".pair .after") });
  const detail = () => ({ before: ofCard(".detail .before"), after: ofCard(".detail .after") });

  async function load(pair) {
    const images = [new Image(), new Image()];
    [images[0].src, images[1].src] = [pair.before, pair.after];
    await Promise.all(images.map((image) => image.decode()));
    return images[1];
  }

  function put(pair, size) {
    [before.src, after.src, ground.src] = [pair.before, pair.after, pair.before];
    [width, height] = size;
    layOut();
  }

  async function display() {
    const turn = ++loads, zoom = zoomOf(), data = current.dataset;
    const isLatest = () => turn === loads;
    isWhole = false;
    note.textContent = "";
    frame.classList.toggle("zoomed", zoom > 0);
    frame.classList.toggle("doubled", zoom > 1);
    if (small().before && small().after) {
      if (zoom === 0 || !detail().before || data.original) put(small(), [Number(data.width) || 4, Number(data.height) || 3]);
    }
    try {
      if (data.original) {
        const pair = { before: data.original, after: data.result };
        const image = await load(pair);
        if (!isLatest()) return;
        isWhole = true;
        put(pair, [image.naturalWidth, image.naturalHeight]);
        focus();
        return;
      }
    } catch {
      if (!isLatest()) return;
      note.textContent = "The original or the result was moved or deleted after this page was made. ";
    }
    const pair = zoom && detail().before ? detail() : small();
    if (!pair.before || !pair.after) return;
    const image = await load(pair);
    if (!isLatest()) return;
    put(pair, [image.naturalWidth, image.naturalHeight]);
    note.textContent += zoom && detail().before
      ? "This is the part that changed most, at full resolution. The page has no more of this photo."
      : "This is a small copy. The page has no more of this photo.";
  }

  function layOut() {
    const zoom = zoomOf();
    const fit = Math.min(stage.clientWidth / width, stage.clientHeight / height);
    const scale = zoom ? zoom / window.devicePixelRatio : fit;
    canvas.style.width = `${width * scale}px`;
    canvas.style.height = `${height * scale}px`;
    placeHandle();
  }

  /** Scroll to what changed most. */
  function focus() {
    if (!zoomOf()) return;
    const x = Number(current.dataset.x ?? 0.5), y = Number(current.dataset.y ?? 0.5);
    stage.scrollTo(x * canvas.offsetWidth - stage.clientWidth / 2, y * canvas.offsetHeight - stage.clientHeight / 2);
  }

  /** Where the visible part of the photo begins in the frame, and how wide it is. */
  function visible() {
    const left = Math.max(0, canvas.offsetLeft - stage.scrollLeft);
    return { left, width: Math.min(canvas.offsetWidth, stage.clientWidth) };
  }

  function placeHandle() {
    const { left, width } = visible();
    const x = left + (width * split.value) / 100;
    handle.style.left = `${x}px`;
    canvas.style.setProperty("--split", `${x + stage.scrollLeft - canvas.offsetLeft}px`);
    split.setAttribute("aria-valuetext", `${split.value} % before`);
  }

  /** Blend the result with the photo below it: opacity blends sRGB values, as --strength does. */
  function blend() {
    const share = strength.value / 100;
    after.style.opacity = share;
    ground.hidden = share === 1; // or it would show through a transparent result
    const text = String(Number((share * Number(strength.dataset.full)).toFixed(2)));
    $("strength-value").textContent = text;
    strength.setAttribute("aria-valuetext", text);
  }

  function splitAt(clientX) {
    const { left, width } = visible();
    const x = clientX - frame.getBoundingClientRect().left - left;
    split.value = (100 * x) / width;
    placeHandle();
  }

  /** Follow a pointer from its press to its release. */
  function follow(element, event, move) {
    element.setPointerCapture(event.pointerId);
    const stop = new AbortController();
    element.addEventListener("pointermove", move, { signal: stop.signal });
    for (const end of ["pointerup", "pointercancel"])
      element.addEventListener(end, () => stop.abort(), { signal: stop.signal });
  }

  handle.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    follow(handle, event, (moved) => splitAt(moved.clientX));
  });
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    if (!zoomOf()) {
      splitAt(event.clientX);
      follow(stage, event, (moved) => splitAt(moved.clientX));
    } else if (event.pointerType === "mouse") {
      const from = { x: stage.scrollLeft + event.clientX, y: stage.scrollTop + event.clientY };
      follow(stage, event, (moved) => stage.scrollTo(from.x - moved.clientX, from.y - moved.clientY));
    }
  });
  stage.addEventListener("scroll", placeHandle);
  split.addEventListener("input", placeHandle);
  strength.addEventListener("input", blend);
  blend(); // the browser may keep the value over a reload
  new ResizeObserver(() => viewer.open && layOut()).observe(frame);

  const canBeOpened = (card) => card.querySelector(".open");
  function neighbour(step) {
    const openable = shown.filter(canBeOpened);
    return openable[openable.indexOf(current) + step];
  }

  function open(card) {
    current = card;
    $("viewer-name").textContent = $("viewer-name").title = card.dataset.name;
    $("viewer-facts").textContent = [...card.querySelectorAll(".notes li, .facts span")].map((fact) => fact.textContent).join(" · ");
    before.alt = `${card.dataset.name}, before`;
    after.alt = `${card.dataset.name}, after`;
    $("previous").disabled = !neighbour(-1);
    $("next").disabled = !neighbour(1);
    if (!viewer.open) viewer.showModal();
    display();
  }
  const go = (step) => neighbour(step) && open(neighbour(step));

  list.addEventListener("click", (event) => {
    const button = event.target.closest(".open");
    if (button) open(button.closest(".card"));
  });
  $("previous").addEventListener("click", () => go(-1));
  $("next").addEventListener("click", () => go(1));
  $("close").addEventListener("click", () => viewer.close());
  $("zoom").addEventListener("input", () => {
    if (!isWhole) return void display();
    frame.classList.toggle("zoomed", zoomOf() > 0);
    frame.classList.toggle("doubled", zoomOf() > 1);
    layOut();
    focus();
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    if (key === "n") go(1);
    else if (key === "p") go(-1);
  });
  viewer.addEventListener("close", () => {
    loads++;
    before.removeAttribute("src");
    after.removeAttribute("src");
    ground.removeAttribute("src");
    canBeOpened(current)?.focus();
  });
})();
