# The few functions that the set needs.
rec {
  optional = condition: value: if condition then [ value ] else [ ];
  optionals = condition: values: if condition then values else [ ];
  optionalString = condition: text: if condition then text else "";
  optionalAttrs = condition: set: if condition then set else { };

  without = unwanted: builtins.filter (each: each != unwanted);

  # The output with headers and scripts for building against a package.
  getDev =
    package:
    if package.outputSpecified or false then package else package.dev or package.out or package;

  fix =
    f:
    let
      x = f x;
    in
    x;
}
