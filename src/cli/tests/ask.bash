# FILE LINE…: for each line what completes it, then a line "end".
# shellcheck disable=SC1090,SC2034 # the file is an argument; what is set here is for it
source "$1"
for line in "${@:2}"; do
    read -ra COMP_WORDS <<<"$line"
    if [[ $line == *' ' ]]; then COMP_WORDS+=(''); fi
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    "$(complete -p app-monitor | sed 's/.*-F \([^ ]*\).*/\1/')"
    printf '%s\n' "${COMPREPLY[@]}" end
done
