# What the difference run gives to a nix-daemon, directly and through the shim, one section after the
# other on a store that is empty in the beginning.  `tests/live/test_difference.py` reads this.

# == ping
nix store ping; nix store info --json; true
# == add
echo source > $BASE/source
nix-store --add $BASE/source
nix-store --add-fixed sha1 $BASE/source
# == build
nix-build $THINGS -A tree -A fixed --no-out-link
# == build again
nix-build $THINGS -A tree --no-out-link
# == build as JSON
nix build -f $THINGS tree --no-link --json | sed 's/"\(start\|stop\)Time":[0-9]*/"\1Time":0/g; s/"cpu[A-Za-z]*":[0-9]*//g'
# == path-info
nix path-info --json -r $(nix-build $THINGS -A tree --no-out-link)
# == path-info of what is not there
nix path-info /nix/store/00000000000000000000000000000000-nowhere
# == references
nix-store --query --references $(nix-build $THINGS -A tree --no-out-link)
# == referrers
nix-store --query --referrers $(nix-build $THINGS -A input --no-out-link)
# == requisites
nix-store --query --requisites $(nix-build $THINGS -A tree --no-out-link)
# == deriver
nix-store --query --deriver $(nix-build $THINGS -A tree --no-out-link)
# == outputs
nix-store --query --outputs $(nix-instantiate $THINGS -A tree)
# == validity
nix-store --check-validity $(nix-build $THINGS -A tree --no-out-link)
nix-store --check-validity $(nix-instantiate $THINGS -A above) /nix/store/x
# == a build that fails
nix-build $THINGS -A failing --no-out-link
# == one below fails, another does not
nix-build $THINGS -A above -A input --keep-going --no-out-link
# == an output that is not what was promised
nix-build $THINGS -A mismatch --no-out-link
# == check
nix-build $THINGS -A input --no-out-link --check
# == rebuild with its log
nix build -L -f $THINGS tree --no-link --rebuild
# == logs afterwards
nix log $(nix-instantiate $THINGS -A tree)
nix-store --read-log $(nix-instantiate $THINGS -A tree)
# == dry run
nix-store --realise --dry-run $(nix-instantiate $THINGS -A above)
# == realise what nobody knows
nix-store --realise /nix/store/00000000000000000000000000000000-nowhere
# == copy to
echo up > $BASE/up
path=$(nix-store --store local?root=$BASE/other --add $BASE/up)
nix copy --no-check-sigs --from local?root=$BASE/other --to $NIX_REMOTE $path; echo $? $path
nix copy --from local?root=$BASE/other --to $NIX_REMOTE $path; echo $?
# == copy from
nix copy --no-check-sigs --from $NIX_REMOTE --to local?root=$BASE/third $(nix-build $THINGS -A tree --no-out-link)
nix path-info --all --store local?root=$BASE/third | sort
# == content-addressed
nix-build $THINGS -A resting --no-out-link
nix build -f $THINGS resting floating floating.doc --no-link --json | sed 's/"\(start\|stop\)Time":[0-9]*/"\1Time":0/g; s/"cpu[A-Za-z]*":[0-9]*//g'
nix realisation info -f $THINGS resting floating --json
nix copy --no-check-sigs --from $NIX_REMOTE --to local?root=$BASE/third -f $THINGS resting; echo $?
# == content-addressed, up
nix copy --no-check-sigs --from local?root=$BASE/third --to $NIX_REMOTE -f $THINGS resting; echo $?
# == build there what is evaluated here
store=$NIX_REMOTE
unset NIX_REMOTE
nix build --store $store --eval-store local?root=$BASE/eval -f $THINGS tree --no-link; echo $?
nix build --store $store --eval-store local?root=$BASE/eval -f $THINGS above --no-link; echo $?
# == export and import
nix-store --export $(nix-build $THINGS -A input --no-out-link) > $BASE/exported
sha256sum < $BASE/exported
nix-store --import < $BASE/exported
# == sign, with a key that is new each time
nix-store --generate-binary-cache-key side-1 $BASE/key $BASE/key.pub
nix store sign --key-file $BASE/key $(nix-build $THINGS -A input --no-out-link); echo $?
# == roots
nix-build $THINGS -A tree --out-link $BASE/result
nix-store --gc --print-roots
# == live and dead
nix-store --gc --print-live | sort
nix-store --gc --print-dead | sort
# == optimise
nix-store --optimise; echo $?
# == damage and repair
path=$(nix-build $THINGS -A input --no-out-link)
chmod u+w $ROOT$path
echo damaged > $ROOT$path
nix-store --verify --check-contents; echo $?
nix-store --verify --check-contents --repair; echo $?
nix-store --realise --repair $path; echo $?
nix-store --realise $(nix-instantiate $THINGS -A input) --repair; echo $?
cat $ROOT$path
# == delete
nix-store --delete $(nix-instantiate $THINGS -A fixed); echo $?
# == collect garbage
nix-store --gc | sort
# == what is left
nix path-info --all | sort
