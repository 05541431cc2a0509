"""The command line: parse flags, call the pipeline, render. One small file a command."""
