# Setup hook: stop the build with a message.
die() {
  echo "error: $*" >&2
  exit 1
}
