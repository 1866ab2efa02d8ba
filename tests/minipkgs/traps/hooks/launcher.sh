# Setup hook: a launcher for every installed program, checked by a tool that runs while building.
preFixupHooks+=(addLaunchers)
addLaunchers() {
  local program sum
  for program in "$out"/bin/*; do
    sum=$(@stamp@ "$program")
    mkdir -p "$out/libexec"
    {
      echo '#!@shell@'
      echo "# ${sum:+checked}"
      printf 'exec %q "$@"\n' "$program"
    } > "$out/libexec/${program##*/}-launcher"
    chmod +x "$out/libexec/${program##*/}-launcher"
  done
}
