"use strict";
// Every text that a person or a model wrote is set as textContent, never as markup.
const $ = (id) => document.getElementById(id);
const FRESH = { battle: null, question: "", turns: [], asked: 0, over: false };
const state = { ...FRESH };
const ZH = {
  "Which answer is better?": "哪个回答更好？",
  "Two models answer, nameless. Read both, vote, and see who they were.": "两个模型匿名作答。读完请投票，随后揭晓是谁。",
  "A is better": "A 更好",
  "Equally good": "一样好",
  "Both bad": "都不好",
  "B is better": "B 更好",
  "Ask both models something": "向两个模型提一个问题",
  "Any category": "任意类别",
  "Suggest a question": "推荐一个问题",
  "New battle": "新的对战",
  "Ask both": "同时提问",
  "Model A": "模型 A",
  "Model B": "模型 B",
  "Decided so far:": "已有投票：",
  "Vote, or ask both a further question.": "请投票，或继续追问双方。",
  "Thank you. Now you see the names.": "谢谢！模型名称已揭晓。",
  "One side failed, so this battle does not count.": "有一方出错，本局不计。",
  "This side failed, so the battle does not count.": "这一方出错，本局不计。",
  "The answer broke off, so the battle does not count.": "回答中断，本局不计。",
  "The page was left before both answers were there, so this battle does not count.": "回答尚未完成时页面已离开，本局不计。",
  "too many questions from this address; wait a minute": "该地址提问过于频繁，请稍候一分钟。",
};
const chinese = navigator.language.startsWith("zh");
const local = (text) => (chinese && ZH[text]) || text;

async function call(path, body) {
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, body === undefined ? {} : post);
  const answer = await response.json();
  if (!response.ok) throw new Error(local(answer.detail));
  return answer;
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function round(prompt) {
  const pair = element("div", "pair");
  const boxes = ["a", "b"].map((side) => {
    const box = element("section", "answer");
    box.dataset.side = side;
    box.append(element("h2", "", local("Model " + side.toUpperCase())), element("p", ""));
    return box;
  });
  pair.append(...boxes);
  $("talk").append(element("div", "question", prompt), pair);
  return boxes;
}

async function read(side, box) {
  const response = await fetch(`/api/battles/${state.battle}/answers/${side}`);
  if (!response.ok) throw new Error("This side did not answer.");
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
      if (event.error) throw new Error(local(event.error));
      done = done || event.done === true;
    }
  }
  if (!done) throw new Error(local("The answer broke off, so the battle does not count."));
}

async function side(box) {
  box.classList.add("writing");
  try {
    await read(box.dataset.side, box);
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
  for (const id of ["send", "prompt", "suggest", "fresh", "category"]) $(id).disabled = on;
}

async function begin(prompt) {
  // A suggestion that was edited is the voter's own question.
  if (prompt !== state.turns[0]) Object.assign(state, { question: "", turns: [] });
  state.battle = (await call("/api/battles", { question: state.question })).battle;
  // For this tab alone: another tab has a battle of its own.
  sessionStorage.setItem("battle", state.battle);
}

async function ask(event) {
  event.preventDefault();
  const prompt = $("prompt").value.trim();
  if (!prompt) return;
  if (state.over) fresh();
  busy(true);
  $("votes").hidden = true;
  $("notice").textContent = "";
  try {
    if (!state.battle) await begin(prompt);
    await call(`/api/battles/${state.battle}/turns`, { prompt });
    $("prompt").value = "";
    const whole = await Promise.all(round(prompt).map(side));
    if (whole.every(Boolean)) open();
    else over("One side failed, so this battle does not count.");
  } catch (error) {
    $("prompt").value = prompt;
    $("votes").hidden = document.querySelector(".answer") === null;
    $("notice").textContent = error.message;
  } finally {
    busy(false);
  }
}

function open() {
  state.asked += 1;
  $("votes").hidden = false;
  $("notice").textContent = local("Vote, or ask both a further question.");
  if (state.asked < state.turns.length) $("prompt").value = state.turns[state.asked];
}

async function vote(winner) {
  for (const button of $("votes").children) button.disabled = true;
  try {
    reveal(await call(`/api/battles/${state.battle}/vote`, { winner }), winner);
    counts();
  } catch (error) {
    $("notice").textContent = error.message;
  } finally {
    for (const button of $("votes").children) button.disabled = false;
  }
}

function reveal(names, winner) {
  for (const box of document.querySelectorAll(".answer")) {
    const key = "model_" + box.dataset.side;
    box.querySelector("h2").textContent = names[key];
    box.classList.toggle("won", key === winner);
  }
  over("Thank you. Now you see the names.");
}

function over(text) {
  state.over = true;
  $("votes").hidden = true;
  $("fresh").hidden = false;
  $("prompt").value = "";
  $("notice").textContent = local(text);
}

function fresh() {
  Object.assign(state, FRESH);
  sessionStorage.removeItem("battle");
  $("talk").replaceChildren();
  $("notice").textContent = "";
  $("fresh").hidden = true;
  $("votes").hidden = true;
}

// After a refresh: the battle of this tab as the server has it.
async function restore() {
  state.battle = sessionStorage.getItem("battle");
  if (!state.battle) return;
  let kept;
  try {
    kept = await call(`/api/battles/${state.battle}`);
  } catch {
    return fresh();
  }
  let complete = kept.a.length > 0;
  for (let i = 0; i < kept.a.length; i += 2) {
    for (const box of round(kept.a[i].content)) {
      const said = kept[box.dataset.side][i + 1];
      box.querySelector("p").textContent = said ? said.content : "";
      complete = complete && said !== undefined;
    }
  }
  if (kept.state === "voted") reveal(kept, kept.winner);
  else if (kept.state === "open" && complete) open();
  else over("The page was left before both answers were there, so this battle does not count.");
}

async function suggest() {
  try {
    const question = await call("/api/question?category=" + encodeURIComponent($("category").value));
    if (state.over || !state.battle) {
      fresh();
      Object.assign(state, { question: question.id, turns: question.turns });
    }
    $("prompt").value = question.turns[0];
    $("prompt").focus();
  } catch (error) {
    $("notice").textContent = error.message;
  }
}

async function counts() {
  const found = await call("/api/counts");
  $("counts").textContent = found.voted ? `${local("Decided so far:")} ${found.voted}` : "";
}

async function categories() {
  for (const name of await call("/api/categories")) {
    const option = element("option", "", name);
    option.value = name;
    $("category").append(option);
  }
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
for (const shown of document.querySelectorAll("h1, header p > span:first-child, button, option")) {
  shown.textContent = local(shown.textContent);
}
$("prompt").placeholder = local($("prompt").placeholder);
document.documentElement.lang = chinese ? "zh" : "en";
restore();
counts();
categories();
