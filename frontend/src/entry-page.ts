/* view.js: the server's page and the report. Mounts into every element that asks for it. */
import { mount } from "svelte";
import { fileHost } from "./hosts/file";
import { httpHost } from "./hosts/http";
import App from "./ui/App.svelte";
import "./ui/view.css";

function start(): void {
  for (const element of document.querySelectorAll<HTMLElement>("#vitscope-view, [data-vitscope-view]")) {
    if (element.dataset.mounted) continue;
    element.dataset.mounted = "";
    const only = element.dataset.source === undefined ? null : Number(element.dataset.source);
    const host = element.dataset.host === "file" ? fileHost(element, only) : httpHost();
    mount(App, { target: element, props: { host, mount: element, only } });
  }
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
