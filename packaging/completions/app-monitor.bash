# bash completion for app-monitor(8)                                       -*- shell-script -*-

_app_monitor_units() {
    systemctl list-unit-files --type=service --no-legend --no-pager --plain 2>/dev/null | cut -d' ' -f1
}

_app_monitor() {
    local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local commands='status check wait incidents why pause resume recover reset simulate alerts config init doctor run help'
    local command='' given=0 at word options='' words=''
    COMPREPLY=()

    # The command, and how many words it was given that are neither options nor their values.
    for ((at = 1; at < COMP_CWORD; at++)); do
        word=${COMP_WORDS[at]}
        case $word in
            --unit | --port | --http | --address | --public | --for | --reason | --app | --faults | --set | -n) ((at++)) ;;
            -*) ;;
            *)
                if [[ -z $command ]]; then
                    command=$word
                elif [[ $command == config || $command == alerts ]]; then
                    command="$command $word"
                else
                    ((given++))
                fi
                ;;
        esac
    done

    case $before in
        --unit) words=$(_app_monitor_units) ;;
        --app) words=$(app-monitor complete apps 2>/dev/null) ;;
        --for) words='10m 30m 1h 2h 1d' ;;
        --address) words='localhost 127.0.0.1 ::1' ;;
        --port | --http | --public | --reason | --faults | --set | -n) return ;;
    esac
    if [[ -n $words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
        return
    fi

    case $command in
        '')
            options='--help --version -h -V'
            words=$commands
            ;;
        status) options='--json --watch' ;;
        check) options='--unit --port --http --address --public --json' ;;
        wait) options='--for --json' ;;
        incidents) options='--app -n --json' ;;
        why) options='--json' ;;
        pause) options='--all --for --reason --json' ;;
        resume) options='--all --json' ;;
        recover) options='--dry-run --json' ;;
        reset) options='--json' ;;
        simulate) options='--faults --incidents --set --all --json' ;;
        alerts)
            options='--json'
            words='test help'
            ;;
        init) options='--write --json' ;;
        doctor) options='--unit --json' ;;
        config) words='check show help' ;;
        'alerts test' | 'config check' | 'config show') options='--json' ;;
        help) words=$commands ;;
    esac
    # help takes words only.
    if [[ -n $command && $command != help && $command != 'config help' && $command != 'alerts help' ]]; then options+=' --help -h'; fi
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
        return
    fi
    if ((given == 0)); then
        case $command in
            status | check | wait | why | pause | resume | recover | reset | simulate | doctor | 'config show')
                words=$(app-monitor complete apps 2>/dev/null)
                ;;
            incidents) words=$(app-monitor complete incidents 2>/dev/null) ;;
            'alerts test') words=$(app-monitor complete alerts 2>/dev/null) ;;
        esac
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    fi
}

complete -F _app_monitor app-monitor
