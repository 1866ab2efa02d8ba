# As much of nixpkgs' module system as nixos-module/ uses: enough to evaluate it and to refuse an option that
# does not exist.  Types are not checked; with nixpkgs at hand, use its own lib.evalModules.
let
  inherit (builtins)
    attrNames
    concatLists
    concatStringsSep
    foldl'
    getAttr
    isAttrs
    isFunction
    isList
    listToAttrs
    map
    ;
  types = {
    package = "package";
    str = "str";
    submodule = _: "submodule";
    attrsOf = _: "attrsOf";
    listOf = _: "listOf";
    nullOr = _: "nullOr";
    ints.positive = "positive";
  };
  isOption = value: isAttrs value && (value._type or "") == "option";
  merge =
    a: b:
    if isAttrs a && isAttrs b && !(a ? _default) && !(b ? _default) then
      a
      // listToAttrs (
        map (name: {
          inherit name;
          value = if a ? ${name} then merge a.${name} b.${name} else b.${name};
        }) (attrNames b)
      )
    else if isAttrs b && b ? _default then
      a
    else if isList a && isList b then
      a ++ b
    else
      b;
  settle =
    value:
    if isAttrs value && value ? _default then
      settle value._default
    else if isAttrs value && !(value ? type && value.type == "derivation") then
      builtins.mapAttrs (_: settle) value
    else
      value;
in
rec {
  lib = {
    inherit types concatLists;
    mkOption = attributes: attributes // { _type = "option"; };
    mkEnableOption = _: {
      _type = "option";
      default = false;
    };
    mkDefault = value: { _default = value; };
    mkIf = condition: value: {
      _if = condition;
      inherit value;
    };
    literalExpression = text: text;
    getExe = package: "${package}/bin/${package.mainProgram or "nix-shim"}";
    mapAttrsToList = f: set: map (name: f name (getAttr name set)) (attrNames set);
  };

  # Declared options below `options`, with `given` values; refuses names that are not declared.
  evaluate =
    {
      module,
      given,
      outside ? { },
      pkgs ? { },
    }:
    let
      config = settle (merge (merge defaults outside) (merge contributed given));
      declared =
        (if isFunction module then module else import module) {
          inherit config lib pkgs;
        };
      defaultsOf =
        options:
        listToAttrs (
          concatLists (
            map (
              name:
              let
                option = options.${name};
              in
              if !isOption option then
                [
                  {
                    inherit name;
                    value = defaultsOf option;
                  }
                ]
              else if option ? default then
                [
                  {
                    inherit name;
                    value = {
                      _default = option.default;
                    };
                  }
                ]
              else
                [ ]
            ) (attrNames options)
          )
        );
      check =
        path: options: values:
        foldl' (
          known: name:
          if !(options ? ${name}) then
            throw "no such option: ${concatStringsSep "." (path ++ [ name ])}"
          else if isOption options.${name} then
            known
          else
            check (path ++ [ name ]) options.${name} values.${name}
        ) true (attrNames values);
      defaults = defaultsOf declared.options;
      # Whether the condition holds cannot be asked here without a circle; the tests enable everything.
      contributed = declared.config.value;
    in
    assert check [ ] declared.options given;
    config;
}
