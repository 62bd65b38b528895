<?php

declare(strict_types=1);

/**
 * The API as the panel calls it: with PHP's own HTTP functions, a token of kind panel, and the user of the panel for whom each call is made.
 * It needs PHP 8.1 with openssl, and no package.
 */
final class Client
{
    /** @param array{name: string, permissions: string, projects: string} $user */
    public function __construct(
        private readonly string $url,
        private readonly string $authority,
        #[SensitiveParameter] private readonly string $token,
        private readonly array $user,
    ) {
    }

    /**
     * Sends one request. A refusal is an Answer too: its problem says why.
     *
     * @param array<string, mixed>|null $body
     * @param array<string, string> $headers
     */
    public function call(string $method, string $path, ?array $body = null, array $headers = [], float $timeout = 60): Answer
    {
        $text = file_get_contents($this->url . '/api/v1' . $path, false, $this->context($method, $body, $headers, $timeout));
        if ($text === false) {
            throw new RuntimeException("$method $path: no answer: " . (error_get_last()['message'] ?? ''));
        }

        return Answer::from($http_response_header, $text);
    }

    /**
     * Reads server-sent events until the visitor returns something else than null, and returns that. Visitors get the event's name, its data
     * and its id; after a break, last is the id to go on after.
     *
     * @param callable(string, array<string, mixed>, string): mixed $visit
     */
    public function events(string $project, callable $visit, string $last = '', float $timeout = 30): mixed
    {
        $path = '/api/v1/events?project=' . rawurlencode($project);
        $headers = ['Accept' => 'text/event-stream'] + ($last === '' ? [] : ['Last-Event-ID' => $last]);
        // Of an answer in chunks, as HTTP/1.1 has it, fgets() waits for 8192 bytes.
        $stream = fopen($this->url . $path, 'rb', false, $this->context('GET', null, $headers, $timeout, 1.0));
        if ($stream === false) {
            throw new RuntimeException("GET $path: no stream: " . (error_get_last()['message'] ?? ''));
        }
        $name = $data = $id = '';
        $until = microtime(true) + $timeout;
        try {
            while (($line = fgets($stream)) !== false && microtime(true) < $until) {
                $line = rtrim($line, "\r\n");
                if ($line === '') {
                    if ($data !== '') {
                        $found = $visit($name, json_decode($data, true, 64, JSON_THROW_ON_ERROR), $id);
                        if ($found !== null) {
                            return $found;
                        }
                    }
                    $name = $data = $id = '';
                } elseif ($line[0] !== ':') {
                    [$field, $value] = explode(':', $line, 2) + [1 => ''];
                    $value = ltrim($value, ' ');
                    match ($field) {
                        'event' => $name = $value,
                        'data' => $data .= $value,
                        'id' => $id = $value,
                        default => null,
                    };
                }
            }
        } finally {
            fclose($stream);
        }
        throw new RuntimeException("the stream ended, or what was awaited did not come within $timeout s");
    }

    /**
     * @param array<string, mixed>|null $body
     * @param array<string, string> $headers
     * @return resource
     */
    private function context(string $method, ?array $body, array $headers, float $timeout, float $version = 1.1)
    {
        $headers += [
            'Authorization' => 'Bearer ' . $this->token,
            'DevFlow-Acting-User' => $this->user['name'],
            'DevFlow-Acting-Permissions' => $this->user['permissions'],
            'DevFlow-Acting-Projects' => $this->user['projects'],
            'Connection' => 'close',
        ];
        $http = ['method' => $method, 'ignore_errors' => true, 'follow_location' => 0, 'timeout' => $timeout, 'protocol_version' => $version];
        if ($body !== null) {
            $headers['Content-Type'] = 'application/json';
            $http['content'] = json_encode((object) $body, JSON_THROW_ON_ERROR);
        }
        $http['header'] = array_map(static fn (string $name, string $value): string => "$name: $value", array_keys($headers), $headers);

        return stream_context_create(['http' => $http, 'ssl' => ['cafile' => $this->authority]]);
    }
}

/** What the API answered. */
final class Answer
{
    /**
     * @param array<string, string> $headers names in lower case
     * @param array<string, mixed> $body
     */
    private function __construct(public readonly int $status, public readonly array $headers, public readonly array $body)
    {
    }

    /** @param list<string> $lines */
    public static function from(array $lines, string $text): self
    {
        $status = 0;
        $headers = [];
        foreach ($lines as $line) {
            if (preg_match('~^HTTP/\S+ (\d{3})~', $line, $m) === 1) {
                $status = (int) $m[1];
            } elseif (str_contains($line, ':')) {
                [$name, $value] = explode(':', $line, 2);
                $headers[strtolower($name)] = trim($value);
            }
        }

        return new self($status, $headers, $text === '' ? [] : json_decode($text, true, 64, JSON_THROW_ON_ERROR));
    }

    /** Whether the request was carried out. */
    public function ok(): bool
    {
        return $this->status >= 200 && $this->status < 300;
    }

    /** Why not, as the panel shows it: a sentence, and what to do about it. */
    public function why(): string
    {
        return trim(($this->body['detail'] ?? '') . ' ' . ($this->body['hint'] ?? ''));
    }
}
