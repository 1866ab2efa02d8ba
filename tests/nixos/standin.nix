# As much of nixpkgs' `lib` as nixos-module/ uses, for machines that have no nixpkgs: a small module system with
# conditions, priorities and the types that our options have.  An option that does not exist, a value of another kind
# and a conflict are errors, as there.  With nixpkgs at hand the tests use its own `lib` instead.
let
  inherit (builtins)
    all
    attrNames
    concatLists
    concatMap
    concatStringsSep
    elem
    filter
    foldl'
    fromJSON
    functionArgs
    head
    isAttrs
    isBool
    isFunction
    isInt
    isList
    isString
    length
    listToAttrs
    map
    mapAttrs
    readFile
    typeOf
    ;

  kind = value: if isAttrs value then value._type or "" else "";
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  ordinary = 100;

  # Sets of definitions, with conditions and priorities pushed down to their members: names are known without asking
  # for any condition, else no condition could be about an option.
  pushDown =
    value:
    if kind value == "merge" then
      concatMap pushDown value.contents
    else if kind value == "if" then
      map (mapAttrs (_: mkIf value.condition)) (pushDown value.content)
    else if kind value == "override" then
      map (mapAttrs (_: mkOverride value.priority)) (pushDown value.content)
    else
      [ value ];

  # Definitions of one option, as a list of { priority, value }.
  discharge =
    value:
    if kind value == "merge" then
      concatMap discharge value.contents
    else if kind value == "if" then
      if value.condition then discharge value.content else [ ]
    else if kind value == "override" then
      map (each: each // { inherit (value) priority; }) (discharge value.content)
    else
      [
        {
          priority = ordinary;
          inherit value;
        }
      ];

  strongest =
    definitions:
    let
      least = foldl' (found: each: if each.priority < found then each.priority else found) 9999 definitions;
    in
    map (each: each.value) (filter (each: each.priority == least) definitions);

  show = concatStringsSep ".";
  wrong = path: type: value: throw "${show path}: ${typeOf value} where ${type.name} is wanted";

  namesOf = sets: attrNames (foldl' (found: each: found // each) { } sets);
  mergeSets =
    path: type: values:
    let
      sets = concatMap (value: if isAttrs value then pushDown value else wrong path type value) values;
    in
    listToAttrs (
      concatMap (
        name:
        let
          definitions = concatMap (each: if each ? ${name} then discharge each.${name} else [ ]) sets;
        in
        if definitions == [ ] then
          [ ]
        else
          [
            {
              inherit name;
              value = type.member.merge (path ++ [ name ]) (strongest definitions);
            }
          ]
      ) (namesOf sets)
    );

  leaf = name: check: rec {
    inherit name check;
    merge =
      path: values:
      if !all check values then
        wrong path { inherit name; } (head (filter (value: !check value) values))
      else if all (value: value == head values) values then
        head values
      else
        throw "${show path}: conflicting definitions";
  };
  isDerivation = value: isAttrs value && (value.type or "") == "derivation";

  types = rec {
    bool = leaf "true or false" isBool;
    str = leaf "string" isString;
    int = leaf "integer" isInt;
    port = leaf "port" (value: isInt value && value >= 0 && value < 65536);
    ints.positive = leaf "positive integer" (value: isInt value && value > 0);
    path = leaf "path" (value: isString value || builtins.isPath value);
    package = leaf "package" (value: isDerivation value || isString value);
    enum = choices: leaf "one of ${concatStringsSep ", " choices}" (value: elem value choices);
    nullOr = inner: {
      name = "null or ${inner.name}";
      check = value: value == null || inner.check value;
      merge = path: values: if all (value: value == null) values then null else inner.merge path values;
    };
    either =
      one: other:
      leaf "${one.name} or ${other.name}" (value: one.check value || other.check value);
    listOf = inner: {
      name = "list of ${inner.name}s";
      check = isList;
      merge =
        path: values:
        map (value: inner.merge path [ value ]) (
          concatLists (map (value: if isList value then value else wrong path (listOf inner) value) values)
        );
    };
    attrsOf = inner: rec {
      name = "set of ${inner.name}s";
      check = isAttrs;
      member = inner;
      merge = path: values: mergeSets path { inherit name member; } values;
    };
    anything = {
      name = "anything";
      check = _: true;
      merge =
        path: values:
        if all (value: isAttrs value && !isDerivation value) values then
          (attrsOf anything).merge path values
        else if all isList values then
          concatLists values
        else
          (leaf "anything" (_: true)).merge path values;
    };
    submodule = module: {
      name = "submodule";
      check = isAttrs;
      merge =
        path: values:
        let
          declared = if isFunction module then module { } else module;
        in
        tree path (declared.options or { }) (declared.freeformType or null) (concatMap pushDown values);
    };
  };

  # Every declared option below `path`, from sets of definitions.
  tree =
    path: options: freeform: sets:
    let
      unknown = filter (name: !(options ? ${name})) (namesOf sets);
      free =
        if unknown == [ ] then
          { }
        else if freeform == null then
          throw "no such option: ${show (path ++ [ (head unknown) ])}"
        else
          freeform.merge path (map (each: removeAttrs each (attrNames options)) sets);
    in
    free
    // mapAttrs (
      name: option:
      let
        here = path ++ [ name ];
        given = concatMap (each: if each ? ${name} then [ each.${name} ] else [ ]) sets;
      in
      if kind option == "option" then
        let
          definitions = concatMap discharge given;
        in
        if definitions != [ ] then
          option.type.merge here (strongest definitions)
        else if option ? default then
          # A default is a definition of the weakest kind: a submodule fills in its own.
          option.type.merge here [ option.default ]
        else
          throw "${show here} is used but not defined"
      else
        tree here option null (concatMap pushDown given)
    ) options;

  mergeOptions =
    a: b:
    a
    // mapAttrs (
      name: value: if a ? ${name} && kind value != "option" then mergeOptions a.${name} value else value
    ) b;
in
rec {
  inherit types;
  inherit mkIf mkMerge mkOverride;
  inherit (builtins)
    attrNames
    attrValues
    concatLists
    concatMap
    concatStringsSep
    isAttrs
    isBool
    isInt
    isList
    isString
    listToAttrs
    mapAttrs
    ;
  replaceStrings = builtins.replaceStrings;
  mkDefault = mkOverride 1000;
  mkForce = mkOverride 50;
  mkOption = attributes: attributes // { _type = "option"; };
  mkEnableOption =
    what:
    mkOption {
      type = types.bool;
      default = false;
      description = what;
    };
  mkOptionType = given: {
    inherit (given) name;
    check = given.check or (_: true);
    merge = path: values: given.merge path (map (value: { inherit value; }) values);
  };
  literalExpression = text: text;
  optional = condition: value: if condition then [ value ] else [ ];
  getExe = package: "${package}/bin/${package.mainProgram or "nix-shim"}";
  importJSON = path: fromJSON (readFile path);

  evalModules =
    { modules }:
    let
      load =
        module:
        let
          loaded = if isFunction module then module else if isAttrs module then module else import module;
        in
        if isFunction loaded then
          loaded (
            builtins.intersectAttrs (functionArgs loaded) (
              { inherit config lib; } // arguments
            )
          )
        else
          loaded;
      # Modules that are plain sets of definitions give the arguments, as `_module.args` does in nixpkgs.
      arguments = foldl' (found: each: if isAttrs each then found // (each._module.args or { }) else found) { } modules;
      loaded = map load modules;
      options = foldl' (found: each: mergeOptions found (each.options or { })) { } loaded;
      definitions =
        each:
        if each ? options || each ? config then each.config or { } else removeAttrs each [ "_module" ];
      config = tree [ ] options null (concatMap (each: pushDown (definitions each)) loaded);
      lib = import ./standin.nix;
    in
    {
      inherit config;
    };
}
