# FOLDER LINE…: for each line what completes it, then a line "end". A shell on a terminal of its own is
# typed into, since zsh completes nothing else.
zmodload zsh/zpty || exit 1
out=$(mktemp)
trap 'rm -f $out' EXIT
wait_for() {
    for ((i = 0; i < 400; i++)); do
        [[ $(tail -n 1 $out) == $1 ]] && return
        zpty -r -t shell drained
        sleep 0.025
    done
    print -u 2 "waited in vain for $1"
    exit 1
}
zpty shell "PATH=${(q)PATH} zsh -f -i"
zpty -w shell "PATH=${(q)PATH} out=$out; fpath=(${(q)1} \$fpath)"
zpty -w shell 'autoload -Uz compinit; compinit -u -D; zstyle ":completion:*" menu no; LISTMAX=10000'
# What is found is written down on its way. Completions use -O, -A and -D for what is no result.
zpty -w shell 'compadd() {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return $?; fi
    local -a found; builtin compadd -A found "$@"; print -rl -- $found >>$out; builtin compadd "$@"
}'
zpty -w shell 'finish() { zle kill-whole-line; print end >>$out }; zle -N finish; bindkey "^Xf" finish'
zpty -w shell 'print ready >>$out'
wait_for ready
shift
for line; do
    : >$out
    zpty -w -n shell "$line"$'\t'$'\x18f'
    wait_for end
    cat $out
done
zpty -d shell
