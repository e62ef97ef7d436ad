// Where answers come from: the server of this page, or the answers that a saved page contains.
"use strict";

(function () {
  const own = document.getElementById("answers");
  const saved = own ? JSON.parse(own.textContent) : null;
  Crow.saved = saved;

  Crow.ask = async function (what, question) {
    if (saved) return answer(what, question);
    let response;
    try {
      response = await fetch(what, { method: "POST", body: JSON.stringify(question || {}), headers: { "Content-Type": "application/json" } });
    } catch {
      throw new Error("The server does not answer. Start crow explore again, and open the address that it prints.");
    }
    const found = await response.json().catch(() => ({ error: "This address is no longer valid. Start crow explore again." }));
    if (found.error) throw new Error(found.error);
    return found;
  };

  // A saved page has a grid of courses, by number, and the differences between any two.
  function answer(what, question) {
    if (what === "start") return saved.start;
    if (what === "subject") return saved.subject;
    if (what === "scan") return { ...saved.scans.both, ...(question.at === null ? saved.scans.now : saved.scans.courses[question.chosen][question.at]) };
    const chosen = question.chosen;
    const found = { ...saved.forecast, courses: chosen.map((k) => saved.courses[k].answer), difference: null };
    if (chosen.length === 2) found.difference = saved.differences[chosen[0]][chosen[1]];
    return found;
  }

  // Asks for the newest question only: while one is answered, the next waits, and those between are dropped.
  Crow.latest = function (answered, failed) {
    let busy = false, waiting = null;
    async function next() {
      busy = true;
      while (waiting) {
        const [what, question, mark] = waiting;
        waiting = null;
        try {
          const found = await Crow.ask(what, question);
          if (!waiting) answered(found, mark);
        } catch (error) {
          if (!waiting) failed(error);
        }
      }
      busy = false;
    }
    return (what, question, mark) => { waiting = [what, question, mark]; if (!busy) next(); };
  };
})();
