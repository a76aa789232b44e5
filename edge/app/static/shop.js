// Makes pages quicker to use. Everything here also works as plain forms and links, without this file.
const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const json = { headers: { accept: "application/json" }, credentials: "same-origin" };

// Whatever may make a guest or change the basket goes one after another: two first items at once would make two guests, and
// the second one's cookie would lose the first one's item.
let last = Promise.resolve();
const inTurn = (job) => (last = last.then(job, job));

const fields = (form) => new URLSearchParams(new FormData(form));
const post = async (form, body) => {
  const response = await fetch(form.action, { ...json, method: "POST", body });
  if (response.ok) return response.json();
  const problem = await response.json().catch(() => ({}));
  throw Object.assign(new Error(problem.title), { type: problem.type, status: response.status });
};
// What the basket's page says of an item that was not added, or of which nobody knows.
const notice = ({ type, status }) => {
  if (type === "/problems/unknown-sku") return "gone";
  if (status === 422) return "too-many";
  return status === 429 || status === 503 ? "busy" : "unsure";
};

// The number beside the basket.
const badge = one("[data-count]");
const showCount = (units) => {
  badge.textContent = units > 999 ? "999+" : String(units);
  badge.hidden = units === 0;
};
const askCount = () =>
  inTurn(() => fetch("/cart/count", json).then((r) => (r.ok ? r.json() : null)).then((said) => said && showCount(said.units)).catch(() => {}));
if (badge) {
  if (badge.hidden) askCount();
  else if (badge.textContent === "0") badge.hidden = true;
  // A page that the browser kept, shown again with "back", has an old number.
  addEventListener("pageshow", (event) => event.persisted && askCount());
}

// What just happened, said aloud too.
const toast = one("[data-toast]");
let toastTimer;
const say = (text, link) => {
  one("[data-toast-text]").textContent = text;
  one("a", toast).hidden = !link;
  toast.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (toast.hidden = true), 7000);
};

const busy = (form, on) => all("button", form).forEach((button) => button.setAttribute("aria-busy", String(on)));

// Into the basket without leaving the page. If that fails, the basket shows whether it is in there: sending it again would
// be another operation and might add it twice.
for (const form of all("form[data-add]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (form.ariaBusy === "true") return;
    form.ariaBusy = "true";
    busy(form, true);
    const wanted = fields(form);
    try {
      const said = await inTurn(() => post(form, wanted));
      showCount(said.units);
      say(`Added: ${form.dataset.add}.`, true);
    } catch (problem) {
      location.assign(`/cart?notice=${notice(problem)}`);
    } finally {
      form.ariaBusy = "false";
      busy(form, false);
    }
  });
}

// Minus and plus around a number.
const stepper = (input, changed) => {
  const frame = document.createElement("span");
  frame.className = "stepper";
  const label = input.labels[0]?.textContent.trim() ?? "Quantity";
  const button = (sign, by, name) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = sign;
    made.setAttribute("aria-label", `${name}: ${label}`);
    made.addEventListener("click", () => {
      const wanted = (Number.parseInt(input.value, 10) || 0) + by;
      input.value = String(Math.min(Math.max(wanted, Number(input.min || 0)), Number(input.max)));
      changed?.();
    });
    return made;
  };
  input.before(frame);
  frame.append(button("−", -1, "One less"), input, button("+", 1, "One more"));
};
for (const input of all(".buy-form input[type=number]")) stepper(input);

// The basket: a changed number takes effect at once.
const applyCart = (said) => {
  showCount(said.units);
  for (const node of all("[data-total]")) node.textContent = said.total;
  for (const node of all("[data-units]")) node.textContent = String(said.units);
  for (const row of all("[data-line]")) {
    const line = said.lines.find((own) => own.sku === row.dataset.line);
    if (!line) row.remove();
    else one("[data-line-total]", row).textContent = line.total;
  }
  if (said.lines.length === 0) location.reload();
};
for (const form of all("form[data-set], form[data-remove]")) {
  let timer;
  let latest = 0;
  const send = async () => {
    const turn = ++latest;
    const wanted = fields(form);
    try {
      // A number that was changed again while it waited need not be sent.
      const said = await inTurn(() => (turn === latest ? post(form, wanted) : null));
      if (turn !== latest) return;
      applyCart(said);
      say(form.matches("[data-remove]") ? "Removed from your basket." : `Your basket now comes to ${said.total}.`, false);
    } catch {
      // A number set twice, or an item removed twice, is the same as once.
      if (turn === latest) form.submit();
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    send();
  });
  const input = one("input[type=number]", form);
  if (!input) continue;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(() => input.reportValidity() && send(), 450);
  };
  stepper(input, soon);
  input.addEventListener("change", soon);
  one("button[type=submit]", form).classList.add("hidden");
}

// Stock as it is about now. Pages are shared and may be half a minute old, so no count stands in them; and a count is a
// moment old too, which is why nothing is forbidden here: the order itself decides.
const choice = one(".buy-form select[name=sku]");
choice?.addEventListener("change", () => {
  for (const hint of all(".buy-form [data-stock]")) hint.hidden = hint.dataset.stock !== choice.value;
});
const fewUnits = 5;
const stockWords = (units) =>
  units === 0 ? ["out", "Sold out"] : units <= fewUnits ? ["few", `Only ${units} left`] : ["plenty", "In stock"];
const showStock = ({ sku, units }) => {
  const [kind, text] = stockWords(units);
  for (const hint of all("[data-stock]")) {
    if (hint.dataset.stock !== sku) continue;
    hint.className = `stock ${kind}`;
    hint.textContent = text;
    if (kind === "few") hint.title = "As of a moment ago";
    else hint.removeAttribute("title");
  }
  for (const option of choice?.options ?? []) {
    if (option.value !== sku) continue;
    option.dataset.name ??= option.textContent;
    option.textContent = units === 0 ? `${option.dataset.name} (sold out)` : option.dataset.name;
  }
};
const askStock = async () => {
  const skus = [...new Set(all("[data-stock]").map((hint) => hint.dataset.stock))].sort();
  for (let at = 0; at < skus.length; at += 100) {
    const query = new URLSearchParams(skus.slice(at, at + 100).map((sku) => ["sku", sku]));
    try {
      const said = await fetch(`/v1/stock?${query}`, json).then((r) => (r.ok ? r.json() : null));
      for (const level of said?.items ?? []) showStock(level);
    } catch { /* Nothing is said then. */ }
  }
};
askStock();
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && askStock());

// A form that must not be sent twice by a hasty finger. (If it is, nothing happens twice; it only looks calmer.)
const sendOnce = (form) => {
  form.addEventListener("submit", (event) => {
    if (form.ariaBusy === "true") event.preventDefault();
    form.ariaBusy = "true";
    busy(form, true);
  });
  addEventListener("pageshow", () => {
    form.ariaBusy = "false";
    busy(form, false);
  });
  return form;
};
all("form[data-once]").forEach(sendOnce);

// What delivery costs, as soon as it is said where to or how; without this, a button asks.
const showChoice = ({ id, name, text }, chosen) => {
  const radio = element("input", { type: "radio", id: `by-${id}`, name: "delivery_option", value: id, required: "" });
  radio.checked = id === chosen;
  const label = element("label", { for: radio.id }, element("span", { class: "choice-name" }, name), element("span", { class: "dim" }, text));
  return element("div", { class: "choice" }, radio, label);
};
for (const button of all("button[data-show]")) {
  const form = button.form;
  let latest = 0;
  button.hidden = true;
  form.addEventListener("change", async ({ target }) => {
    if (target.name !== "country" && target.name !== "delivery_option") return;
    const turn = ++latest;
    const wanted = fields(form);
    wanted.set(button.name, button.value);
    try {
      const said = await post(form, wanted);
      if (turn !== latest) return;
      one("[name=total]", form).value = said.minor;
      one("[name=currency]", form).value = said.currency;
      write(one("[data-delivery]", form), said.delivery);
      for (const due of all("[data-due]", form)) write(due, said.total);
      // What was just used stays where it is.
      if (target.name === "delivery_option") return;
      const choices = said.choices.map((choice) => showChoice(choice, said.chosen));
      const trouble = said.trouble ? [element("p", {}, said.trouble)] : [];
      one("[data-choices]", form).replaceChildren(...trouble, element("div", { class: "choices" }, ...choices));
    } catch {
      // Nobody knows now what it costs: the button asks again.
      if (turn === latest) button.hidden = false;
    }
  });
}

// An order that may still move on: its page is told, and says so aloud, without being loaded anew.
const element = (name, attributes, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const showParcel = ({ carrier, code, url, holds, said }) =>
  element("li", {},
    element("span", {}, carrier, ...(code ? [", ", element("span", { class: "mono" }, code)] : []), element("br", {}),
      element("span", { class: "dim" }, holds),
      ...(url ? [element("br", {}), element("a", { href: url, rel: "noopener noreferrer" }, "Follow this parcel")] : [])),
    element("span", { class: "nowrap" }, said));
const showStep = (step) =>
  element("li", { class: step.class, ...(step.now && { "aria-current": "step" }) }, step.name,
    element("span", { class: "hidden" }, step.said));
const write = (place, text) => {
  // What stays as it is, is not said again.
  if (place.textContent !== text) place.textContent = text;
};
const showOrder = (state, said) => {
  // The page may know better than the state it was made from: that its reader has just answered the bank.
  if (said.tag === state.dataset.tag) return;
  state.dataset.tag = said.tag;
  state.className = `state ${said.tone}`;
  write(one("h1", state), said.headline);
  write(one("[data-explanation]", state), said.explanation);
  const gone = [one(".notice", state), one("[data-act]", state), said.may_cancel ? null : one("[data-may-cancel]", state)];
  if (gone.some((part) => part?.contains(document.activeElement))) one("#main").focus();
  for (const part of gone) part?.remove();
  if (said.act?.leaves) {
    const link = element("a", { class: "button", href: said.act.action, rel: "noreferrer" }, said.act.label);
    one("[aria-live]", state).after(element("p", { "data-act": "" }, link));
  } else if (said.act) {
    const button = element("button", { type: "submit", class: "button" }, said.act.label);
    one("[aria-live]", state).after(sendOnce(element("form", { action: said.act.action, method: "post", "data-act": "" }, button)));
  }
  one(".steps").replaceChildren(...said.steps.map(showStep));
  write(one("[data-payment]"), said.payment);
  if (said.parcels.length === 0) return;
  one("[data-parcels]").replaceChildren(element("h3", { id: "parcels" }, "Parcels"),
    element("ul", { class: "mini roomy", "aria-labelledby": "parcels" }, ...said.parcels.map(showParcel)));
};
const follow = (state) => {
  let source;
  // Where nobody tells us, or not for now: look now and then, ever more slowly.
  let wait = 800;
  const look = async () => {
    try {
      const said = await fetch(`${state.dataset.follow}/status`, json).then((r) => (r.ok ? r.json() : null));
      if (said) showOrder(state, said);
      if (said?.follow === false) return;
    } catch { /* The next look may reach it. */ }
    wait = Math.min(wait * 1.4, 30000);
    setTimeout(look, wait);
  };
  // Pages that nobody sees hear nothing: a browser keeps only a few ways open to one shop.
  const listen = () => {
    source?.close();
    if (document.hidden) return;
    source = new EventSource(`${state.dataset.follow}/live`);
    source.addEventListener("message", (event) => {
      const said = JSON.parse(event.data);
      showOrder(state, said);
      if (!said.follow) stop();
    });
    // A browser that only lost the way comes back by itself.
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED) return;
      stop();
      look();
    });
  };
  const stop = () => {
    source.close();
    document.removeEventListener("visibilitychange", listen);
  };
  document.addEventListener("visibilitychange", listen);
  listen();
};
all("[data-follow]").forEach(follow);

// What went wrong gets the focus.
one("[data-focus]")?.focus();

// An order that this browser shall tell of. The form is hidden where that cannot be; permission is asked for on a press alone.
const push = one("form[data-push]");
if (push && "serviceWorker" in navigator && "PushManager" in window && "Notification" in window) {
  const kept = `push:${push.action}`;
  const remembered = () => {
    try {
      return localStorage.getItem(kept) === "on";
    } catch {
      return false;
    }
  };
  const remember = (on) => {
    try {
      if (on) localStorage.setItem(kept, "on");
      else localStorage.removeItem(kept);
    } catch {
      // Only the words on the button are lost.
    }
    one("button", push).textContent = on ? "Stop telling me" : "Tell me in this browser";
  };
  // The one script that pages may start by its address.
  const policy = window.trustedTypes?.createPolicy("push", { createScriptURL: () => "/push.js" });
  const subscribe = async () => {
    if ((await Notification.requestPermission()) !== "granted") throw new Error("not allowed");
    const worker = await navigator.serviceWorker.register(policy ? policy.createScriptURL("") : "/push.js");
    await navigator.serviceWorker.ready;
    const wanted = { userVisibleOnly: true, applicationServerKey: push.dataset.push };
    try {
      return await worker.pushManager.subscribe(wanted);
    } catch (error) {
      if (error.name !== "InvalidStateError") throw error;
      // It had subscribed under a key that the shop has no longer.
      await (await worker.pushManager.getSubscription())?.unsubscribe();
      return worker.pushManager.subscribe(wanted);
    }
  };
  const tell = async () => {
    const { endpoint, keys } = (await subscribe()).toJSON();
    await post(push, new URLSearchParams({ endpoint, p256dh: keys.p256dh, auth: keys.auth }));
    remember(true);
    say("This browser tells you what becomes of the order.", false);
  };
  const stop = async () => {
    await post(push, new URLSearchParams({ off: "yes" }));
    remember(false);
    say("No browser tells you of this order any more.", false);
  };
  remember(remembered());
  push.hidden = false;
  push.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (push.ariaBusy === "true") return;
    push.ariaBusy = "true";
    busy(push, true);
    try {
      await (remembered() ? stop() : tell());
    } catch {
      say(Notification.permission === "denied" ? "This browser does not allow it." : "That did not work. Please try again.", false);
    } finally {
      push.ariaBusy = "false";
      busy(push, false);
    }
  });
}
