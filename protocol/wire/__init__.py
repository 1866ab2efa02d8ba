"""Values as bytes: primitives and combinators that both protocols are declared in."""
