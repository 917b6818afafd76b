"use strict";
{
    const [pause, lost] = ["pause", "lost"].map(id => document.getElementById(id));
    const update = async () => {
        if (pause.checked || document.hidden) return;
        try {
            const answer = await fetch(location.href, {cache: "no-store", signal: AbortSignal.timeout(4000)});
            if (!answer.ok) throw new Error(answer.status);
            const page = new DOMParser().parseFromString(await answer.text(), "text/html");
            const live = document.getElementById("live");
            const scrolled = [...live.querySelectorAll(".wide")].map(box => box.scrollLeft);
            const focused = [...live.querySelectorAll(".wide")].indexOf(document.activeElement);
            live.replaceWith(page.getElementById("live"));
            const boxes = [...document.querySelectorAll("#live .wide")];
            boxes.forEach((box, index) => { box.scrollLeft = scrolled[index] || 0; });
            if (focused >= 0 && boxes[focused]) boxes[focused].focus({preventScroll: true});
            lost.textContent = "";
        } catch {
            lost.textContent = "No answer; what is shown is old.";
        }
    };
    if (location.protocol.startsWith("http")) setInterval(update, 3000);
}
