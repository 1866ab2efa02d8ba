# Setup hook of a tool: stamps every program that is installed with the tool it lies beside.
stampWithKit() {
  local file
  for file in "$out"/bin/*; do
    if [[ -f $file && $file != *.kit ]]; then
      @out@/bin/stamp "$file" > "$file.kit"
    fi
  done
}
postFixupHooks+=(stampWithKit)
