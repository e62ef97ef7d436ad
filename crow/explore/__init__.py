"""The page of `crow explore`: a local server, its answers, and the page itself. Above pipelines, beside the commands."""
