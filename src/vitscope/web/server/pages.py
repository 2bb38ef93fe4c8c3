"""The few bytes of HTML around the view; everything is addressed relative to the page, so that it works below any path of a proxy."""

from __future__ import annotations

HEAD = (
    '<!doctype html>\n<html lang="en" class="vv-page">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>vitscope</title>\n<link rel="icon" href="data:,">\n'
)
PAGE = (
    HEAD + '<link rel="stylesheet" href="static/view.css">\n<script src="static/view.js" defer></script>\n</head>\n<body>\n'
    '<main id="vitscope-view" data-host="http"><h1 class="vv-quiet">vitscope</h1></main>\n<noscript>This page needs JavaScript; '
    "a report of <code>vitscope explain</code> does not.</noscript>\n</body>\n</html>\n"
)
HOW_TO_BUILD = "the interactive page was not built: run make frontend in the checkout, or install again without VITSCOPE_SKIP_FRONTEND"
UNBUILT = HEAD + f"</head>\n<body>\n<h1>vitscope</h1>\n<p>{HOW_TO_BUILD[0].upper()}{HOW_TO_BUILD[1:]}</p>\n</body>\n</html>\n"

#: For browsers that came from another site: they send no strict cookie along a redirect from there, only from a page of our own.
HERE_INSTEAD = HEAD + '<meta http-equiv="refresh" content="0;url=./">\n</head>\n<body></body>\n</html>\n'
