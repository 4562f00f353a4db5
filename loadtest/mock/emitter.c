/* A server of token streams that is exact to microseconds, for checking what a client measures.

   Every request gets TOKENS events, the first TTFT after it arrived, the others ITL apart; the text of each token is
   the CLOCK_MONOTONIC time in nanoseconds at which it was handed to the kernel, followed by a space.
   usage: emitter TTFT_US ITL_US TOKENS     (listens on a free port of 127.0.0.1, which it prints) */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MAX_STREAMS = 8192, REQUEST_BYTES = 65536, EVENT_BYTES = 1024, BATCH = 256 };

typedef struct {
    int chat, sent;
    size_t received;
    int64_t due_ns;
    char request[REQUEST_BYTES];
} Stream;

static Stream *streams[MAX_STREAMS]; /* by file descriptor */
static int heap[MAX_STREAMS], heap_size;
static int64_t ttft_ns, itl_ns;
static int tokens, timer;

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void heap_swap(int a, int b) {
    int held = heap[a];
    heap[a] = heap[b];
    heap[b] = held;
}

static int64_t heap_due(int place) { return streams[heap[place]]->due_ns; }

static void heap_sink(int place) {
    for (;;) {
        int child = 2 * place + 1;
        if (child + 1 < heap_size && heap_due(child + 1) < heap_due(child)) child++;
        if (child >= heap_size || heap_due(place) <= heap_due(child)) return;
        heap_swap(place, child);
        place = child;
    }
}

static void heap_add(int fd) {
    int place = heap_size++;
    heap[place] = fd;
    for (; place && heap_due(place) < heap_due((place - 1) / 2); place = (place - 1) / 2) heap_swap(place, (place - 1) / 2);
}

static void heap_remove(int place) {
    heap[place] = heap[--heap_size];
    for (int at = heap_size / 2; at >= 0; at--) heap_sink(at);
}

static void close_stream(int fd) {
    for (int place = 0; place < heap_size; place++)
        if (heap[place] == fd) {
            heap_remove(place);
            break;
        }
    free(streams[fd]);
    streams[fd] = NULL;
    close(fd);
}

/* An event as one chunk, stamped as late as it can be. */
static int put_event(char *out, const Stream *stream, int last) {
    char body[EVENT_BYTES];
    const char *format;
    if (stream->chat)
        format = last ? "data: {\"object\":\"chat.completion.chunk\",\"id\":\"\",\"created\":1,\"model\":\"emitter\",\"choices\":"
                        "[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"%lld \"},\"finish_reason\":\"length\"}],"
                        "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":%d,\"total_tokens\":%d}}\n\ndata: [DONE]\n\n"
                      : "data: {\"object\":\"chat.completion.chunk\",\"id\":\"\",\"created\":1,\"model\":\"emitter\",\"choices\":"
                        "[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"%lld \"},\"finish_reason\":null}]}\n\n";
    else
        format = last ? "data:{\"index\":1,\"token\":{\"id\":1,\"text\":\"%lld \",\"logprob\":-0.5,\"special\":false},"
                        "\"generated_text\":\"\",\"details\":{\"finish_reason\":\"length\",\"generated_tokens\":%d,"
                        "\"seed\":null,\"input_length\":%d}}\n\n"
                      : "data:{\"index\":1,\"token\":{\"id\":1,\"text\":\"%lld \",\"logprob\":-0.5,\"special\":false},"
                        "\"generated_text\":null,\"details\":null}\n\n";
    int length = snprintf(body, sizeof body, format, (long long)now_ns(), tokens, tokens + 1);
    return sprintf(out, "%x\r\n%s\r\n%s", length, body, last ? "0\r\n\r\n" : "");
}

static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/* For clients that look whether a server is there, and which models it has. */
static const char models[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 48\r\n\r\n"
                             "{\"object\":\"list\",\"data\":[{\"id\":\"emitter\"}]}     ";

/* Whether the stream goes on. */
static int emit(int fd) {
    Stream *stream = streams[fd];
    char out[sizeof head + 2 * EVENT_BYTES];
    int used = 0;
    if (stream->sent == 0) used = sprintf(out, "%s", head);
    int last = ++stream->sent == tokens;
    used += put_event(out + used, stream, last);
    if (write(fd, out, used) != used) {
        close_stream(fd);
        return 0;
    }
    stream->due_ns += itl_ns;
    return !last;
}

/* Reads a request; once it is whole, its first token is due. */
static void receive(int fd) {
    Stream *stream = streams[fd];
    ssize_t got = read(fd, stream->request + stream->received, REQUEST_BYTES - 1 - stream->received);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) close_stream(fd);
        return;
    }
    stream->received += got;
    stream->request[stream->received] = 0;
    if (!strncmp(stream->request, "GET ", 4) && strstr(stream->request, "\r\n\r\n")) {
        stream->received = 0;
        if (write(fd, models, sizeof models - 1) < 0) close_stream(fd);
        return;
    }
    char *end = strstr(stream->request, "\r\n\r\n"), *length = strcasestr(stream->request, "content-length:");
    if (!end || !length || (size_t)(end + 4 - stream->request) + atoi(length + 15) > stream->received) return;
    stream->chat = strstr(stream->request, "/chat/") != NULL && strstr(stream->request, "/chat/") < end;
    stream->received = stream->sent = 0;
    stream->due_ns = now_ns() + ttft_ns;
    heap_add(fd);
}

static void accept_all(int listener, int poller) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_STREAMS || !(streams[fd] = calloc(1, sizeof(Stream)))) fail("too many streams");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
    }
}

static void emit_due(void) {
    while (heap_size && heap_due(0) <= now_ns()) {
        int fd = heap[0], size = heap_size;
        if (emit(fd)) heap_sink(0);
        else if (heap_size == size) heap[0] = heap[--heap_size], heap_sink(0);
    }
    if (!heap_size) return;
    struct itimerspec when = {.it_value = {heap_due(0) / 1000000000LL, heap_due(0) % 1000000000LL}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static int listen_anywhere(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) fail("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("listening on http://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int count, char **arguments) {
    if (count != 4) return fprintf(stderr, "usage: emitter TTFT_US ITL_US TOKENS\n"), 2;
    ttft_ns = atoll(arguments[1]) * 1000, itl_ns = atoll(arguments[2]) * 1000, tokens = atoi(arguments[3]);
    int listener = listen_anywhere(), poller = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    for (int i = 0; i < 2; i++) {
        int fd = i ? timer : listener;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
    }
    struct epoll_event ready[BATCH];
    for (;;) {
        int found = epoll_wait(poller, ready, BATCH, -1);
        for (int i = 0; i < found; i++) {
            uint64_t expirations;
            if (ready[i].data.fd == listener) accept_all(listener, poller);
            else if (ready[i].data.fd == timer) (void)!read(timer, &expirations, sizeof expirations);
            else if (streams[ready[i].data.fd]) receive(ready[i].data.fd);
        }
        emit_due();
    }
}
