# Setup hook: put a script of the host's shell before a program.

# wrapProgram PROGRAM [--set NAME VALUE]...
wrapProgram() {
  local program=$1 hidden
  [[ -x $program ]] || die "no program: $program"
  hidden=${program%/*}/.${program##*/}-wrapped
  shift
  mv "$program" "$hidden"
  {
    echo '#!@shell@'
    while (( $# )); do
      [[ $1 == --set ]] || die "unknown option: $1"
      printf 'export %s=%q\n' "$2" "$3"
      shift 3
    done
    printf 'exec %q "$@"\n' "$hidden"
  } > "$program"
  chmod +x "$program"
}
