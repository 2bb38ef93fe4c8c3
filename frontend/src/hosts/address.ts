/* The state in the page's address, `#s=` and base64url JSON. */
import { encodeState, stateInHash, type State } from "../core/state";

const WAIT = 200;

export function addressState(mine: (state: State) => boolean = () => true) {
  let timer: ReturnType<typeof setTimeout> | undefined;
  return {
    first: (): State | null => {
      const state = stateInHash(location.hash);
      return state && mine(state) ? state : null;
    },
    set: (state: State): void => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        try {
          history.replaceState(history.state, "", `#s=${encodeState(state)}`);
        } catch {
          // a document without an address of its own (srcdoc): nothing to keep it in
        }
      }, WAIT);
    },
    listen: (heard: (state: State) => void, failed: (error: unknown) => void): (() => void) => {
      const changed = () => {
        try {
          const state = stateInHash(location.hash);
          if (state && mine(state)) heard(state);
        } catch (error) {
          failed(error);
        }
      };
      addEventListener("hashchange", changed);
      return () => removeEventListener("hashchange", changed);
    },
    link: (state: State): string | null => {
      if (!/^(https?|file):/.test(location.protocol)) return null;
      return `${location.href.split("#")[0]}#s=${encodeState(state)}`;
    },
  };
}
