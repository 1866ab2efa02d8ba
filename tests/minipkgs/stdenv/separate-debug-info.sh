# Setup hook: debug information goes into the output `debug`, filed by build id.
export NIX_CFLAGS_COMPILE="${NIX_CFLAGS_COMPILE:-} -ggdb -Wa,--compress-debug-sections"
export NIX_LDFLAGS="${NIX_LDFLAGS:-} --build-id"
dontStrip=1
preFixupHooks+=(_separateDebugInfo)

_separateDebugInfo() {
  local file id folder
  while IFS= read -r -d '' file; do
    isElf "$file" || continue
    id=$("$READELF" -n "$file" | sed -n 's/ *Build ID: *//p')
    [[ -n $id ]] || continue
    folder=$debug/lib/debug/.build-id/${id:0:2}
    mkdir -p "$folder"
    "$OBJCOPY" --only-keep-debug "$file" "$folder/${id:2}.debug"
    "$STRIP" --strip-debug "$file"
    "$OBJCOPY" --add-gnu-debuglink="$folder/${id:2}.debug" "$file"
  done < <(find "$out" -type f \( -perm -u+x -o -name '*.so*' \) -print0)
}
