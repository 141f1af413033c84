import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/** The JDK's own client, as LangChain4j and Spring AI use it: it offers HTTP/2 with its first request. */
class JavaHttp {
    public static void main(String[] arguments) throws Exception {
        var client = HttpClient.newHttpClient();
        var body = Files.readString(Path.of(arguments[1]), StandardCharsets.UTF_8);
        for (int turn = 0; turn < 3; turn++) {
            var request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
            HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(response.statusCode() + " " + response.body().replace("\n", "\\n"));
        }
    }
}
