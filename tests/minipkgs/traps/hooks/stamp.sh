# Setup hook: put a checksum beside every installed program, with a tool that runs while building.
preFixupHooks+=(stampPrograms)
stampPrograms() {
  local program
  for program in "$out"/bin/*; do
    @stamp@ "$program" > "$program.sum"
  done
}
