"use strict";
// Every text that a person or a model wrote is set as textContent, never as markup.
const $ = (id) => document.getElementById(id);
const state = { battle: null, question: "", suggested: "", over: false };

async function post(path, body) {
  const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(typeof answer.detail === "string" ? answer.detail : "the server refused this");
  return answer;
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function pane(side) {
  const box = element("section", "answer writing");
  box.dataset.side = side;
  box.append(element("h2", "", "Model " + side.toUpperCase()), element("p", ""));
  return box;
}

async function read(side, box) {
  const response = await fetch(`/api/battles/${state.battle}/answers/${side}`);
  if (!response.ok) throw new Error("this side did not answer");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let done = false;
  for (;;) {
    const { value, done: ended } = await reader.read();
    if (ended) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const event = JSON.parse(line);
      if (event.text) box.querySelector("p").append(event.text);
      if (event.error) throw new Error(event.error);
      done = done || event.done === true;
    }
  }
  if (!done) throw new Error("the answer broke off; the battle does not count");
}

async function side(name, box) {
  try {
    await read(name, box);
    return true;
  } catch (error) {
    box.classList.add("failed");
    box.querySelector("p").append("\n" + error.message);
    return false;
  } finally {
    box.classList.remove("writing");
  }
}

function busy(on) {
  for (const id of ["send", "prompt", "suggest", "fresh"]) $(id).disabled = on;
}

async function ask(event) {
  event.preventDefault();
  const prompt = $("prompt").value.trim();
  if (!prompt) return;
  if (state.over) fresh();
  $("prompt").value = prompt;
  busy(true);
  $("votes").hidden = true;
  $("notice").textContent = "";
  try {
    // An edited suggestion is the voter's own question.
    if (prompt !== state.suggested) state.question = "";
    state.battle = state.battle || (await post("/api/battles", { question: state.question })).battle;
    await post(`/api/battles/${state.battle}/turns`, { prompt });
    const pair = element("div", "pair");
    const boxes = [pane("a"), pane("b")];
    pair.append(...boxes);
    $("talk").append(element("div", "question", prompt), pair);
    $("prompt").value = "";
    const whole = await Promise.all([side("a", boxes[0]), side("b", boxes[1])]);
    if (whole.every(Boolean)) {
      $("votes").hidden = false;
      $("notice").textContent = "Vote, or ask both a further question.";
    } else {
      over("One side failed, so this battle does not count.");
    }
  } catch (error) {
    $("notice").textContent = error.message;
  } finally {
    busy(false);
  }
}

async function vote(winner) {
  try {
    const names = await post(`/api/battles/${state.battle}/vote`, { winner });
    for (const box of document.querySelectorAll(".answer")) {
      const key = "model_" + box.dataset.side;
      box.querySelector("h2").textContent = names[key];
      box.classList.toggle("won", key === winner);
    }
    over("Thank you. Now you see the names.");
    counts();
  } catch (error) {
    $("notice").textContent = error.message;
  }
}

function over(text) {
  state.over = true;
  $("votes").hidden = true;
  $("fresh").hidden = false;
  $("notice").textContent = text;
}

function fresh() {
  Object.assign(state, { battle: null, question: "", suggested: "", over: false });
  $("talk").replaceChildren();
  $("notice").textContent = "";
  $("fresh").hidden = true;
  $("votes").hidden = true;
}

async function suggest() {
  const question = await (await fetch("/api/question")).json();
  if (state.over || !state.battle) {
    fresh();
    state.question = question.id;
    state.suggested = question.turns[0];
  }
  $("prompt").value = question.turns[0];
  $("prompt").focus();
}

async function counts() {
  const found = await (await fetch("/api/counts")).json();
  $("counts").textContent = found.voted ? `${found.voted} battles decided so far.` : "";
}

$("ask").addEventListener("submit", ask);
$("suggest").addEventListener("click", suggest);
$("fresh").addEventListener("click", fresh);
for (const button of $("votes").children) button.addEventListener("click", () => vote(button.dataset.winner));
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
});
counts();
