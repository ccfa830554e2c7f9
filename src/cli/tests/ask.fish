# FILE LINE…: for each line what completes it, then a line "end".
source $argv[1]
for line in $argv[2..]
    complete -C $line | string replace -r '\t.*' ''
    echo end
end
