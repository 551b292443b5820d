package interop;

import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.cloud.context.config.annotation.RefreshScope;
import org.springframework.context.annotation.ComponentScan;
import org.springframework.context.annotation.FilterType;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** Says what its configuration says. */
@SpringBootApplication
@ComponentScan(useDefaultFilters = false, includeFilters = @ComponentScan.Filter(
        type = FilterType.ASSIGNABLE_TYPE, classes = Provider.Greeting.class))
public class Provider {
    /** The one page. */
    @RestController
    @RefreshScope
    public static class Greeting {
        @Value("${greeting}")
        private String greeting;

        @GetMapping("/greeting")
        String greeting() {
            return greeting;
        }
    }
}
