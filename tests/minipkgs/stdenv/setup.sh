# The generic builder: finds dependencies by slot, sets up tools, runs the phases.
# Written for emulators: shell built-ins are preferred to programs wherever a loop runs often.
set -eu
set -o pipefail
shopt -s nullglob
export LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-315532800}

: "${outputs:=out}" "${out:=}"

# ---- outputs -------------------------------------------------------------------------------------

# pickOutput VARIABLE CANDIDATE...: the first output that the derivation has.
pickOutput() {
  local variable=$1 each
  shift
  for each in "$@"; do
    if [[ " $outputs " == *" $each "* ]]; then
      printf -v "$variable" %s "$each"
      return
    fi
  done
  printf -v "$variable" %s "${outputs%% *}"
}
pickOutput outputDev dev out
pickOutput outputLib lib out
pickOutput outputInclude dev out

# moveToOutput PATTERN TARGET: move matching files (relative to an output) from all other outputs.
moveToOutput() {
  local pattern=$1 target=$2 output source relative
  for output in $outputs; do
    [[ -n ${!output:-} && ${!output} != "$target" ]] || continue
    for source in "${!output}"/$pattern; do
      [[ -e $source || -L $source ]] || continue
      relative=${source#"${!output}"/}
      if [[ $relative == */* ]]; then
        mkdir -p "$target/${relative%/*}"
      else
        mkdir -p "$target"
      fi
      if [[ -d $target/$relative ]]; then
        cp -r "$source"/. "$target/$relative/"
        rm -r "$source"
      else
        mv "$source" "$target/$relative"
      fi
      rmdir -p --ignore-fail-on-non-empty "${source%/*}" 2>/dev/null || true
    done
  done
}

# isElf FILE, isArchive FILE: by their first bytes.
isElf() {
  local magic=
  IFS= read -r -n 4 magic < "$1" 2>/dev/null || true
  [[ $magic == $'\x7fELF' ]]
}
isArchive() {
  local magic=
  IFS= read -r -n 7 magic < "$1" 2>/dev/null || true
  [[ $magic == '!<arch>' ]]
}

# patchProgram FILE RUNPATH: load it with $libc's loader, and libraries from RUNPATH.
# In this order and apart: patchelf 0.18 makes programs that crash when the longer RUNPATH comes last.
patchProgram() {
  patchelf --set-rpath "$2" "$1"
  patchelf --set-interpreter "$libc/lib/$dynamicLinker" "$1"
}

# ---- text ----------------------------------------------------------------------------------------

# substituteAll SOURCE TARGET: replace @name@ by the value of every variable mentioned.
substituteAll() {
  local text name rest
  IFS= read -r -d '' text < "$1" || true
  rest=$text
  while [[ $rest =~ @([A-Za-z_][A-Za-z0-9_]*)@ ]]; do
    name=${BASH_REMATCH[1]}
    rest=${rest#*"@$name@"}
    if [[ -n ${!name+set} ]]; then
      text=${text//"@$name@"/"${!name}"}
    fi
  done
  printf %s "$text" > "$2"
}

# ---- dependencies --------------------------------------------------------------------------------
# A dependency has a host offset (where it runs) and a target offset (what it makes code for):
# -1 is the build platform, 0 the host platform, 1 the target platform.

declare -A slotArray=(
  [-1,-1]=pkgsBuildBuild [-1,0]=pkgsBuildHost [-1,1]=pkgsBuildTarget
  [0,0]=pkgsHostHost [0,1]=pkgsHostTarget [1,1]=pkgsTargetTarget
)
declare -A slotFile=(
  [-1,-1]=propagated-build-build-deps [-1,0]=propagated-native-build-inputs
  [-1,1]=propagated-build-target-deps [0,0]=propagated-host-host-deps
  [0,1]=propagated-build-inputs [1,1]=propagated-target-target-deps
)
declare -A slotVariable=(
  [-1,-1]=depsBuildBuildPropagated [-1,0]=propagatedNativeBuildInputs
  [-1,1]=depsBuildTargetPropagated [0,0]=depsHostHostPropagated
  [0,1]=propagatedBuildInputs [1,1]=depsTargetTargetPropagated
)
slotOrder=(-1,-1 -1,0 -1,1 0,0 0,1 1,1)
pkgsBuildBuild=() pkgsBuildHost=() pkgsBuildTarget=()
pkgsHostHost=() pkgsHostTarget=() pkgsTargetTarget=()
declare -A seenInput=()

# findInputs PACKAGE HOST TARGET: note it, and what it propagates, seen from here.
findInputs() {
  local package=$1 host=$2 target=$3 slot nextHost nextTarget each
  local -n array=${slotArray[$host,$target]}
  [[ -z ${seenInput[$package $host,$target]:-} ]] || return 0
  seenInput[$package $host,$target]=1
  array+=("$package")
  [[ -d $package/nix-support ]] || return 0
  for slot in "${slotOrder[@]}"; do
    local file=$package/nix-support/${slotFile[$slot]}
    [[ -f $file ]] || continue
    nextHost=$(( ${slot%,*} <= 0 ? ${slot%,*} + host : ${slot%,*} - 1 + target ))
    nextTarget=$(( ${slot#*,} <= 0 ? ${slot#*,} + host : ${slot#*,} - 1 + target ))
    (( nextHost >= -1 && nextHost <= 1 && nextTarget >= -1 && nextTarget <= 1 )) || continue
    local next=()
    read -r -d '' -a next < "$file" || true
    for each in "${next[@]}"; do
      findInputs "$each" "$nextHost" "$nextTarget"
    done
  done
}

# addEnvHooks OFFSET FUNCTION: call it with every dependency whose host is OFFSET.
envHooksBuild=() envHooksHost=() envHooksTarget=()
addEnvHooks() {
  case $1 in
    -1) envHooksBuild+=("$2") ;;
    0) envHooksHost+=("$2") ;;
    1) envHooksTarget+=("$2") ;;
  esac
}

# activatePackage PACKAGE HOST TARGET: its programs, and its setup hook.
activatePackage() {
  local package=$1 hostOffset=$2 targetOffset=$3
  if [[ -f $package ]]; then
    source "$package"
    return
  fi
  if [[ -d $package/bin ]]; then
    if (( hostOffset == -1 )) || [[ -z ${strictDeps:-} ]]; then
      PATH=$PATH:$package/bin
    fi
    if (( hostOffset == 0 )); then
      HOST_PATH=${HOST_PATH:-}${HOST_PATH:+:}$package/bin
    fi
  fi
  if [[ -f $package/nix-support/setup-hook ]]; then
    source "$package/nix-support/setup-hook"
  fi
}

setUpInputs() {
  local each slot start=
  for each in $initialPath; do
    start+=${start:+:}$each/bin
  done
  export PATH=$start HOST_PATH=
  for each in ${defaultNativeBuildInputs:-} ${nativeBuildInputs:-} ${propagatedNativeBuildInputs:-}; do
    findInputs "$each" -1 0
  done
  for each in ${depsBuildBuild:-} ${depsBuildBuildPropagated:-}; do findInputs "$each" -1 -1; done
  for each in ${depsBuildTarget:-} ${depsBuildTargetPropagated:-}; do findInputs "$each" -1 1; done
  for each in ${depsHostHost:-} ${depsHostHostPropagated:-}; do findInputs "$each" 0 0; done
  for each in ${defaultBuildInputs:-} ${buildInputs:-} ${propagatedBuildInputs:-}; do
    findInputs "$each" 0 1
  done
  for each in ${depsTargetTarget:-} ${depsTargetTargetPropagated:-}; do findInputs "$each" 1 1; done

  PATH=
  for slot in "${slotOrder[@]}"; do
    local -n packages=${slotArray[$slot]}
    for each in "${packages[@]}"; do
      activatePackage "$each" "${slot%,*}" "${slot#*,}"
    done
  done
  PATH=${PATH#:}${PATH:+:}$start
  if [[ -z ${strictDeps:-} ]]; then
    HOST_PATH=$PATH
  fi

  local hook
  for slot in "${slotOrder[@]}"; do
    local -n found=${slotArray[$slot]}
    local hooks=()
    case ${slot%,*} in
      -1) hooks=("${envHooksBuild[@]}") ;;
      0) hooks=("${envHooksHost[@]}") ;;
      1) hooks=("${envHooksTarget[@]}") ;;
    esac
    for each in "${found[@]}"; do
      for hook in "${hooks[@]}"; do
        "$hook" "$each"
      done
    done
  done
}

# ---- phases --------------------------------------------------------------------------------------

# runHook NAME: the functions in NAMEHooks, then the variable or function NAME.
runHook() {
  local each
  local -n functions=${1}Hooks
  for each in "${functions[@]}"; do "$each"; done
  runText "$1"
}
for each in Unpack Patch Configure Build Check Install InstallCheck Fixup; do
  declare -a "pre${each}Hooks=()" "post${each}Hooks=()"
done

# runText NAME: evaluate the variable of that name, if there is one.
runText() {
  if [[ -n ${!1:-} ]]; then
    eval "${!1}"
  fi
}

unpackFile() {
  local name=${1##*/}
  name=${name#*-}
  case $name in
    *.deb) mkdir -p source && dpkg-deb -x "$1" source ;;
    *.tar.gz) tar -xzf "$1" ;;
    *.tar.xz) tar -xJf "$1" ;;
    *) cp -r "$1" "$name" && chmod -R u+w "$name" ;;
  esac
}

unpackPhase() {
  local each before
  runHook preUnpack
  before=" $(echo *) "
  for each in ${srcs:-${src:-}}; do
    unpackFile "$each"
  done
  if [[ -z ${sourceRoot:-} ]]; then
    for each in */; do
      [[ $before == *" ${each%/} "* ]] || sourceRoot=${each%/}
    done
  fi
  if [[ -n ${sourceRoot:-} ]]; then
    cd "$sourceRoot"
  fi
  runHook postUnpack
}

patchPhase() {
  local each
  runHook prePatch
  for each in ${patches:-}; do
    patch -p1 < "$each"
  done
  runHook postPatch
}

configurePhase() {
  runHook preConfigure
  if [[ -x ${configureScript:-./configure} ]]; then
    local flags=(--prefix="${prefix:-$out}")
    [[ -z ${setOutputFlags-1} ]] || flags+=(
      --includedir="${!outputInclude}/include" --libdir="${!outputLib}/lib"
    )
    # Sandboxes need not have /bin/sh.
    CONFIG_SHELL=$SHELL "$SHELL" "${configureScript:-./configure}" "${flags[@]}" ${configureFlags:-}
  fi
  runHook postConfigure
}

isMake() { [[ -f Makefile || -f makefile || -f GNUmakefile || -n ${makefile:-} ]]; }

buildPhase() {
  runHook preBuild
  if isMake; then
    make ${enableParallelBuilding:+-j$NIX_BUILD_CORES} SHELL="$SHELL" ${makeFlags:-} ${buildFlags:-}
  fi
  runHook postBuild
}

checkPhase() {
  runHook preCheck
  make SHELL="$SHELL" ${makeFlags:-} ${checkTarget:-check}
  runHook postCheck
}

installPhase() {
  runHook preInstall
  if isMake; then
    make SHELL="$SHELL" ${makeFlags:-} ${installFlags:-} ${installTargets:-install}
  fi
  runHook postInstall
}

installCheckPhase() {
  runHook preInstallCheck
  runHook postInstallCheck
}

# patchShebangs FILE...: interpreters of executable scripts, looked up where the program will run.
patchShebangs() {
  local file line interpreter arguments found
  for file in "$@"; do
    [[ -f $file && -x $file && ! -L $file ]] || continue
    line=
    IFS= read -r line < "$file" 2>/dev/null || true
    [[ $line == '#!'* ]] || continue
    line=${line#'#!'}
    read -r interpreter arguments <<< "$line"
    [[ $interpreter != "$NIX_STORE"/* ]] || continue
    if [[ $interpreter == */env ]]; then
      read -r interpreter arguments <<< "$arguments"
    fi
    found=$(PATH=$HOST_PATH type -P "${interpreter##*/}") || continue
    { printf '#!%s\n' "$found${arguments:+ $arguments}"; tail -n +2 "$file"; } > "$file.patched"
    chmod --reference="$file" "$file.patched" 2>/dev/null || chmod 755 "$file.patched"
    mv "$file.patched" "$file"
  done
}

stripOutput() {
  local file
  [[ -z ${dontStrip:-} && -n ${STRIP:-} ]] || return 0
  for folder in lib libexec bin sbin; do
    [[ -d $1/$folder && ! -L $1/$folder ]] || continue
    while IFS= read -r -d '' file; do
      if isElf "$file" || isArchive "$file"; then
        # Some packages install programs of another machine.
        "$STRIP" -S -p "$file" 2>/dev/null || true
      fi
    done < <(find "$1/$folder" -type f -print0)
  done
}

# RUNPATH keeps only the folders that have a library which is needed.
shrinkRunpaths() {
  local file
  while IFS= read -r -d '' file; do
    if isElf "$file" && [[ $file != *.o && $file != *.debug ]]; then
      patchelf --shrink-rpath "$file"
    fi
  done < <(find "$1" -type f \( -perm -u+x -o -name '*.so*' \) -print0)
}

fixupPhase() {
  local output each slot
  runHook preFixup
  if [[ $outputDev != out ]]; then
    for each in include lib/pkgconfig share/pkgconfig 'bin/*-config'; do
      moveToOutput "$each" "${!outputDev}"
    done
  fi
  for output in $outputs; do
    [[ -e ${!output} ]] || continue
    if [[ -d ${!output} ]]; then
      [[ $output == debug || -z ${STRIP:-} ]] || shrinkRunpaths "${!output}"
      [[ $output == debug ]] || stripOutput "${!output}"
      patchShebangs "${!output}"/bin/* "${!output}"/sbin/* "${!output}"/libexec/*
    fi
  done
  recordPropagatedDependencies
  if [[ -n ${setupHook:-} ]]; then
    mkdir -p "${!outputDev}/nix-support"
    substituteAll "$setupHook" "${!outputDev}/nix-support/setup-hook"
  fi
  if [[ -n ${setupHooks:-} ]]; then
    mkdir -p "${!outputDev}/nix-support"
    local hook text=
    for hook in $setupHooks; do
      substituteAll "$hook" hook.substituted
      IFS= read -r -d '' each < hook.substituted || true
      text+=$each$'\n'
    done
    printf %s "$text" > "${!outputDev}/nix-support/setup-hook"
  fi
  runHook postFixup
}

recordPropagatedDependencies() {
  local slot value
  for slot in "${slotOrder[@]}"; do
    value=${!slotVariable[$slot]:-}
    # Users of `dev` are to link against the libraries, which lie in another output.
    if [[ $slot == 0,1 && $outputDev != "$outputLib" ]]; then
      value+=" ${!outputLib}"
    fi
    value=${value# }
    if [[ -n $value ]]; then
      mkdir -p "${!outputDev}/nix-support"
      printf '%s\n' "$value" > "${!outputDev}/nix-support/${slotFile[$slot]}"
    fi
  done
}

genericBuild() {
  local phase
  # Packages' own scripts are not written for it.
  set +u
  if [[ -n ${buildCommandPath:-} ]]; then
    source "$buildCommandPath"
    return
  fi
  if [[ -n ${buildCommand:-} ]]; then
    eval "$buildCommand"
    return
  fi
  for phase in unpackPhase patchPhase configurePhase buildPhase checkPhase installPhase \
    fixupPhase installCheckPhase; do
    case $phase in
      unpackPhase) [[ -z ${dontUnpack:-} ]] || continue ;;
      configurePhase) [[ -z ${dontConfigure:-} ]] || continue ;;
      buildPhase) [[ -z ${dontBuild:-} ]] || continue ;;
      installPhase) [[ -z ${dontInstall:-} ]] || continue ;;
      fixupPhase) [[ -z ${dontFixup:-} ]] || continue ;;
      checkPhase) [[ -n ${doCheck:-} ]] || continue ;;
      installCheckPhase) [[ -n ${doInstallCheck:-} ]] || continue ;;
    esac
    echo "$phase"
    if [[ -n ${!phase:-} ]]; then
      eval "${!phase}"
    else
      "$phase"
    fi
  done
}

# The seed of mangled names is the output's own hash: equal inputs give equal objects.
outName=${out##*/}
export NIX_CFLAGS_COMPILE="${NIX_CFLAGS_COMPILE:-} -frandom-seed=${outName:0:10}"
export NIX_LDFLAGS="${NIX_LDFLAGS:-}"
setUpInputs
