//! A file of nginx as words, ends of directives, and blocks.

/// What is longer is cut, in bytes.
pub(super) const LONGEST_WORD: usize = 1024;

pub(super) enum Token {
    Word(String),
    End,
    Begin,
    Close,
}

pub(super) struct Tokens<'a>(pub(super) std::iter::Peekable<std::str::Chars<'a>>);

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let mut word = String::new();
        let mut begun = false;
        loop {
            let Some(c) = self.0.peek().copied() else {
                return begun.then_some(Token::Word(word));
            };
            match c {
                ';' | '{' | '}' if begun => {
                    // `${name}` is a part of a word.
                    if c == '{' && word.ends_with('$') {
                        for c in self.0.by_ref() {
                            push(&mut word, c);
                            if c == '}' {
                                break;
                            }
                        }
                        continue;
                    }
                    return Some(Token::Word(word));
                }
                ';' | '{' | '}' => {
                    self.0.next();
                    return Some(match c {
                        ';' => Token::End,
                        '{' => Token::Begin,
                        _ => Token::Close,
                    });
                }
                '#' if !begun => while self.0.next().is_some_and(|c| c != '\n') {},
                _ if c.is_whitespace() => {
                    self.0.next();
                    if begun {
                        return Some(Token::Word(word));
                    }
                }
                '"' | '\'' if !begun => {
                    begun = true;
                    self.0.next();
                    while let Some(inner) = self.0.next() {
                        match inner {
                            _ if inner == c => break,
                            '\\' => push(&mut word, self.0.next().unwrap_or('\\')),
                            _ => push(&mut word, inner),
                        }
                    }
                }
                '\\' => {
                    begun = true;
                    self.0.next();
                    push(&mut word, self.0.next().unwrap_or('\\'));
                }
                _ => {
                    begun = true;
                    self.0.next();
                    push(&mut word, c);
                }
            }
        }
    }
}

fn push(word: &mut String, c: char) {
    if word.len() < LONGEST_WORD {
        word.push(c);
    }
}
