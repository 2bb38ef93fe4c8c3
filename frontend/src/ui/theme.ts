/* One switch of themes a document: where the document around the view has its own, the view shows none and moves that one. */
import type { Host } from "../core/host";
import type { State } from "../core/state";

type Theme = State["theme"];

export interface Switch {
  /** Says when the reader chooses; returns how to stop hearing. */
  listen(heard: (theme: Theme) => void): () => void;
  /** The document takes the theme of an address. A view that says nothing leaves it as it is: another one may have spoken. */
  follow(theme: Theme): void;
}

/** The switch of the document around a view, or null where there is none. */
export function documentSwitch(host: Host, around: ParentNode = document): Switch | null {
  const radios = host.kind === "file" ? [...around.querySelectorAll<HTMLInputElement>("input[name=theme]")] : [];
  if (radios.length === 0) return null;
  let spoken = false;
  return {
    listen(heard) {
      const stop = new AbortController();
      for (const radio of radios) radio.addEventListener("change", () => heard(radio.value as Theme), { signal: stop.signal });
      return () => stop.abort();
    },
    follow(theme) {
      const chosen = radios.find((radio) => radio.value === theme);
      if (!chosen || (theme === "auto" && !spoken)) return;
      spoken = true;
      chosen.checked = true;
      document.documentElement.dataset.theme = theme;
    },
  };
}
