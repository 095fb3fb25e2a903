"""What `muq-hf` ends with."""

DONE = 0
DONE_WITH_FAILURES = 1  # some inputs could not be used: they are listed on stderr or in a file
WRONG_USE = 2  # wrong arguments, files that are not there, missing extras
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
OUTPUT_NOT_READ = 141  # 128 + SIGPIPE: the reader of the output has gone (`| head`)
