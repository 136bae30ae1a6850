"""Pages for a browser that load nothing and run nothing: what the report and the review share."""
