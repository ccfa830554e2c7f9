# fish completion for app-monitor(8)

# The words that were typed so far, without options and their values.
function __app_monitor_words
    set -l skip 0
    for word in (commandline -opc)[2..]
        if test $skip -eq 1
            set skip 0
            continue
        end
        switch $word
            case --unit --port --http --address --public --for --reason --app --faults --set -n
                set skip 1
            case '-*'
            case '*'
                echo $word
        end
    end
end

# Whether the command is one of these; `config` and `alerts` go with the word behind them.
function __app_monitor_in
    set -l words (__app_monitor_words)
    if contains -- "$words[1]" config alerts
        contains -- (string join ' ' $words[1..2]) $argv
    else
        contains -- "$words[1]" $argv
    end
end

# The same, and it was given nothing yet.
function __app_monitor_at
    set -l words (__app_monitor_words)
    set -l own 1
    contains -- "$words[1]" config alerts; and set own 2
    test (count $words) -le $own; and __app_monitor_in $argv
end

function __app_monitor_units
    systemctl list-unit-files --type=service --no-legend --no-pager --plain 2>/dev/null | string replace -r ' .*' ''
end

set -l apps '(app-monitor complete apps 2>/dev/null)'

complete -c app-monitor -f
complete -c app-monitor -n 'not __app_monitor_in help "config help" "alerts help"' -s h -l help -d 'Show help'
complete -c app-monitor -n '__app_monitor_in ""' -s V -l version -d 'Show the version'

for in in '' help
    complete -c app-monitor -n "__app_monitor_at '$in'" -a status -d 'Show every app at a glance, or one app'
    complete -c app-monitor -n "__app_monitor_at '$in'" -a check -d 'Make all checks once, from this process'
    complete -c app-monitor -n "__app_monitor_at '$in'" -a wait -d 'Wait until an app is healthy'
    complete -c app-monitor -n "__app_monitor_at '$in'" -a incidents -d 'Show what happened, or one incident whole'
    complete -c app-monitor -n "__app_monitor_at '$in'" -a why -d 'Explain the last recovery of an app'
    complete -c app-monitor -n "__app_monitor_at '$in'" -a pause -d 'Watch, but do not act'
    complete -c app-monitor -n "__app_monitor_at '$in'" -a resume -d 'Act again'
    complete -c app-monitor -n "__app_monitor_at '$in'" -a recover -d 'Recover an app now'
    complete -c app-monitor -n "__app_monitor_at '$in'" -a reset -d 'Forget attempts and close the breaker'
    complete -c app-monitor -n "__app_monitor_at '$in'" -a simulate -d 'Say what would be done about what could happen'
    complete -c app-monitor -n "__app_monitor_at '$in'" -a alerts -d 'Show whom the monitor tells, or test a channel'
    complete -c app-monitor -n "__app_monitor_at '$in'" -a config -d 'Check the configuration, or show what is in force'
    complete -c app-monitor -n "__app_monitor_at '$in'" -a init -d 'Propose a configuration for this server'
    complete -c app-monitor -n "__app_monitor_at '$in'" -a doctor -d 'Look over what is around an app'
    complete -c app-monitor -n "__app_monitor_at '$in'" -a run -d 'Run the daemon'
    complete -c app-monitor -n "__app_monitor_at '$in'" -a help -d 'Show help'
end
complete -c app-monitor -n '__app_monitor_in alerts' -a test -d 'Send a test to a channel'
complete -c app-monitor -n '__app_monitor_in alerts' -a help -d 'Show help'
complete -c app-monitor -n '__app_monitor_at "alerts test"' -a '(app-monitor complete alerts 2>/dev/null)'
complete -c app-monitor -n '__app_monitor_in config' -a check -d 'Report everything that is wrong'
complete -c app-monitor -n '__app_monitor_in config' -a show -d 'Show what is in force'
complete -c app-monitor -n '__app_monitor_in config' -a help -d 'Show help'

complete -c app-monitor -n '__app_monitor_at status check wait why pause resume recover reset simulate doctor "config show"' -a $apps
complete -c app-monitor -n '__app_monitor_at incidents' -k -a '(app-monitor complete incidents 2>/dev/null)'
complete -c app-monitor -n '__app_monitor_in status check wait incidents why pause resume recover reset simulate alerts "alerts test" init doctor "config check" "config show"' -l json -d 'Print JSON'
complete -c app-monitor -n '__app_monitor_in status' -l watch -d 'Show it again every second'
complete -c app-monitor -n '__app_monitor_in check doctor' -x -l unit -a '(__app_monitor_units)' -d 'A unit that is not configured'
complete -c app-monitor -n '__app_monitor_in check' -x -l port -d 'The port that it listens on'
complete -c app-monitor -n '__app_monitor_in check' -x -l http -d 'Its health check'
complete -c app-monitor -n '__app_monitor_in check' -x -l address -a 'localhost 127.0.0.1 ::1' -d 'Where it listens'
complete -c app-monitor -n '__app_monitor_in check' -x -l public -d 'Its public URL'
complete -c app-monitor -n '__app_monitor_in incidents' -x -l app -a $apps -d 'Only those of this app'
complete -c app-monitor -n '__app_monitor_in incidents' -x -s n -d 'At most so many'
complete -c app-monitor -n '__app_monitor_in init' -l write -d 'Write a file for each app'
complete -c app-monitor -n '__app_monitor_in recover' -l dry-run -d 'Say what would be done'
complete -c app-monitor -n '__app_monitor_in simulate' -x -l faults -d 'What happens'
complete -c app-monitor -n '__app_monitor_in simulate' -l incidents -d 'What happened'
complete -c app-monitor -n '__app_monitor_in simulate' -x -l set -d 'Another value'
complete -c app-monitor -n '__app_monitor_in simulate' -l all -d 'Show every line'
complete -c app-monitor -n '__app_monitor_in pause resume' -l all -d 'Every app'
complete -c app-monitor -n '__app_monitor_in pause wait' -x -l for -a '10m 30m 1h' -d 'For how long'
complete -c app-monitor -n '__app_monitor_in pause' -x -l reason -d 'Why, for whoever looks at it meanwhile'
