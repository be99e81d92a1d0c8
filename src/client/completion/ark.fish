# Completion of ark for fish. Put it into ~/.config/fish/completions/ark.fish

function __ark_complete
    set --local words (commandline --current-process --tokenize --cut-at-cursor)
    set --local current (commandline --current-token --cut-at-cursor)
    for line in (ark __complete fish -- $words[2..] "$current" 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path "$current"
        else
            printf '%s\n' $line
        end
    end
end

complete --command ark --no-files --keep-order --arguments '(__ark_complete)'
