"use strict";

// Text is set as text everywhere, and pictures are those that the server encoded.
const byId = (id) => document.getElementById(id);
const percent = (value) => (value > 0.9995 && value < 1 ? "> 99.9 %" : `${(100 * value).toFixed(1)} %`);
const UNREACHABLE = "No answer. Is the command still running, and the file still where it was?";
let model = null;
let queue = Promise.resolve();

function add(parent, tag, text = "", kind = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (kind) element.className = kind;
  parent.append(element);
  return element;
}

function addPicture(parent, source, caption, alternative) {
  const figure = add(parent, "figure");
  const image = source ? add(figure, "img") : add(figure, "div", "", "missing");
  if (source) { image.src = source; image.alt = alternative; }
  add(figure, "figcaption", caption);
  return figure;
}

async function post(address, file) {
  const headers = { "Content-Type": "application/octet-stream" };
  try {
    const response = await fetch(address, { method: "POST", body: file, headers });
    return await response.json();
  } catch {
    return { error: UNREACHABLE };
  }
}

function showAnswer(card, answer) {
  const content = add(card, "div", "", "content");
  const pictures = add(content, "div", "", "pictures");
  addPicture(pictures, answer.picture, "the image", "the image");
  const side = add(content, "div");
  const nothing = model.form === "tags" && !answer.answer;
  add(side, "p", nothing ? "none" : answer.answer, "answer");
  if (model.form === "classes") {
    const kind = model.is_calibrated ? "calibrated confidence" : "confidence, not calibrated";
    add(side, "p", `${percent(answer.bars[0][1])} ${kind}`, "confidence");
  }
  if (answer.bars.length) {
    const list = add(side, "dl");
    answer.bars.forEach(([name, value], rank) => {
      add(list, "dt", name);
      const first = model.form === "tags" ? value >= 0.5 : rank === 0;
      add(add(list, "div", "", first ? "bar first" : "bar"), "div").style.width = `${100 * value}%`;
      add(list, "dd", percent(value));
    });
    const others = model.columns - answer.bars.length;
    if (others > 0) add(side, "p", `and ${others.toLocaleString("en")} less probable`, "note");
  }
  if (answer.rule) add(side, "p", `Values of more than 8 bits were scaled: ${answer.rule}.`, "note");
  return { pictures, side };
}

async function explain(card, file, answer, parts) {
  const waiting = add(add(parts.pictures, "figure"), "div", "", "waiting");
  const explanation = await post(`explanation?column=${answer.column}`, file);
  waiting.parentElement.remove();
  if (explanation.error) {
    add(parts.side, "p", explanation.error, "note");
    return;
  }
  const column = answer.bars.length ? answer.bars[0][0] : "the number";
  if (explanation.heat) addPicture(parts.pictures, explanation.heat, `bright: where “${column}” comes from`, "heat map");
  if (explanation.unlike) {
    const text = `Unlike the training data in ${explanation.unlike}: farther from training images than 99 % of them are `
      + "from others. The answer may be worth little.";
    add(parts.side, "p", text, "warning");
  }
  if (explanation.nearest.length) {
    const nearest = add(card, "div", "", "nearest");
    add(nearest, "h3", "Training images most like it");
    const row = add(nearest, "div");
    for (const image of explanation.nearest) {
      addPicture(row, image.picture, image.label, image.id).title = `${image.label} ${image.id}`;
    }
  }
}

async function answerFile(card, file) {
  const tooLarge = `The file has more than ${model.max_bytes / 1e6} MB; make the image smaller.`;
  const answer = file.size > model.max_bytes ? { error: tooLarge } : await post("answer", file);
  card.querySelector(".state").remove();
  if (answer.error) add(card, "p", answer.error, "refusal");
  return answer.error ? null : { card, file, answer, parts: showAnswer(card, answer) };
}

async function answerFiles(files) {
  const chosen = [...files].slice(0, model.max_files);
  const left = files.length - chosen.length;
  byId("message").textContent = left
    ? `The first ${model.max_files} of ${files.length} files are answered; drop the other ${left} next.` : "";
  const cards = chosen.map((file) => {
    const card = document.createElement("article");
    add(card, "h2", file.name);
    add(card, "p", "waiting…", "note state");
    return card;
  });
  byId("answers").prepend(...cards);
  document.body.dataset.state = "busy";
  const answered = [];
  for (const [index, file] of chosen.entries()) answered.push(await answerFile(cards[index], file));
  if (model.is_explained) {
    for (const item of answered.filter(Boolean)) await explain(item.card, item.file, item.answer, item.parts);
  }
  document.body.dataset.state = "done";
}

function receive(files) {
  const list = [...files];
  if (model && list.length) queue = queue.then(() => answerFiles(list));
}

async function start() {
  model = await (await fetch("model")).json();
  document.title = `${model.name}: predict`;
  byId("name").textContent = model.name;
  const count = model.models === 1 ? "1 model" : `the mean of ${model.models} models`;
  byId("lead").textContent = model.form === "numbers" ? `A number, by ${count}.`
    : `${model.columns.toLocaleString("en")} ${model.form}, by ${count}.`;
  byId("limits").textContent = `Up to ${model.max_files} at once, each at most ${model.max_bytes / 1e6} MB and `
    + `${model.max_pixels / 1e6} million pixels.`;
  for (const note of model.notes) add(byId("notes"), "li", note);
  const drop = byId("drop"), choose = byId("choose");
  choose.addEventListener("change", () => { receive(choose.files); choose.value = ""; });
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop") receive(event.dataTransfer.files);
    });
  }
}

start().catch(() => { byId("message").textContent = UNREACHABLE; });
