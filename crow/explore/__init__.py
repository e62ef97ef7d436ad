"""The page of `crow explore`: a local server and its answers. Above the pipelines, as the commands are."""
