/** What went wrong in one line, for the status region; anything else that is thrown is a bug. */
export class ViewError extends Error {
  override name = "ViewError";
}

/** Whether an error only says that somebody stopped asking. */
export const isAbort = (error: unknown): boolean => error instanceof Error && error.name === "AbortError";

/** The one line of any error. */
export const oneLine = (error: unknown): string => String(error instanceof Error ? error.message : error).replaceAll(/\s+/g, " ").trim();
