"""What went into the controller, written down so that it can be run again. Pure; store/ has the files."""
