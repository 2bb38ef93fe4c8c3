"use strict";
for (const element of document.querySelectorAll("[data-script]")) element.hidden = false;
for (const radio of document.querySelectorAll("[name=theme]"))
  radio.addEventListener("change", () => { document.documentElement.dataset.theme = radio.value; });
