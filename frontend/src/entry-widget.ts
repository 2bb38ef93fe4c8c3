/* widget.js: one ES module for every notebook that speaks anywidget. */
import { mount, unmount } from "svelte";
import { notebookHost } from "./hosts/anywidget";
import App from "./ui/App.svelte";
import "./ui/view.css";

export default {
  render({ model, el }: { model: unknown; el: HTMLElement }): () => void {
    const host = notebookHost(model as Parameters<typeof notebookHost>[0]);
    const app = mount(App, { target: el, props: { host, mount: el } });
    return () => void unmount(app);
  },
};
