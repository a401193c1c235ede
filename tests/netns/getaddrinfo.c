/* Looks each name up as often as the first argument says, and prints its addresses, or fails.
 * Built with musl, whose resolver asks for A and AAAA at once, from one socket. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments) {
    for (int name = 2; name < count; name++) {
        for (int times = atoi(arguments[1]); times > 0; times--) {
            struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *found;
            int error = getaddrinfo(arguments[name], NULL, &hints, &found);
            if (error) {
                fprintf(stderr, "%s: %s\n", arguments[name], gai_strerror(error));
                return 1;
            }
            for (struct addrinfo *each = found; each; each = each->ai_next) {
                char text[INET6_ADDRSTRLEN];
                const void *address = each->ai_family == AF_INET
                    ? (void *)&((struct sockaddr_in *)each->ai_addr)->sin_addr
                    : (void *)&((struct sockaddr_in6 *)each->ai_addr)->sin6_addr;
                puts(inet_ntop(each->ai_family, address, text, sizeof text));
            }
            freeaddrinfo(found);
        }
    }
    return 0;
}
