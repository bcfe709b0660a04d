import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/** Posts a body twice, as a stock JDK client does: it offers HTTP/2 each time. */
public class Ask {
  public static void main(String[] given) throws Exception {
    var client = HttpClient.newHttpClient();
    for (int time = 0; time < 2; time++) {
      var request =
          HttpRequest.newBuilder(URI.create(given[0]))
              .header("content-type", "application/json")
              .POST(BodyPublishers.ofString(given[1]))
              .build();
      var reply = client.send(request, BodyHandlers.ofString());
      System.out.println(reply.statusCode() + " " + reply.body());
    }
  }
}
